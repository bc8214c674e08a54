"""MM-Vet: the questions as they are, and the file that the grader takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imp_deploy.bench.tasks.mmvet import TASK
from imp_deploy.errors import BadInput

QUESTIONS: dict[str, Any] = {
    "v1_0": {
        "imagename": "v1_0.png",
        "question": "What is x in the equation?",
        "answer": "-1<AND>-5",
        "imagesource": "https://example.org",
        "capability": ["ocr", "math"],
    },
    "v1_1": {
        "imagename": "v1_0.png",
        "question": "What is d?",
        "answer": "1.25",
        "imagesource": "https://example.org",
        "capability": ["rec"],
    },
}
LLAVA = [
    {"image": "v1_0.png", "text": "What is x in the equation?", "category": "conv"},
    {"image": "v1_0.png", "text": "What is d?", "category": "conv"},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """As the authors' archive unpacks."""
    (tmp_path / "mm-vet/images").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "mm-vet/images/v1_0.png")
    (tmp_path / "mm-vet/mm-vet.json").write_text(json.dumps(QUESTIONS))
    return tmp_path


def refused(data: Path, *words: str, split: str | None = None) -> None:
    with pytest.raises(BadInput) as error:
        TASK.read(data, split)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert message.endswith(".")
    assert "\n" not in message


def test_the_authors_and_llavas_files_ask_the_same(data: Path) -> None:
    official = TASK.read(data, None).questions
    assert [question.text for question in official] == ["What is x in the equation?", "What is d?"]
    assert official[0].stratum == "ocr+math"
    assert all(question.truth is None for question in official)
    (data / "mm-vet/mm-vet.json").unlink()
    lines = [json.dumps({**line, "question_id": n}) for n, line in enumerate(LLAVA)]
    (data / "mm-vet/llava-mm-vet.jsonl").write_text("\n".join(lines))
    for folder in (data, data / "mm-vet"):
        again = TASK.read(folder, None).questions
        assert [(q.id, q.text) for q in again] == [(q.id, q.text) for q in official]


def test_the_grader_gets_an_object_and_no_score_is_made(data: Path) -> None:
    questions = TASK.read(data, None).questions
    assert TASK.mark is None
    assert TASK.max_tokens == 1024
    assert TASK.submission is not None
    answers = list(zip(questions, ("x is -1 or -5\nbecause…", ""), strict=True))
    name, content = TASK.submission(answers)
    assert name == "mm-vet.json"
    assert json.loads(content) == {"v1_0": "x is -1 or -5\nbecause…", "v1_1": ""}


def test_files_that_do_not_fit(data: Path) -> None:
    path = data / "mm-vet/mm-vet.json"
    refused(data, "no split 'val'", "test", split="val")
    for changed, word in (
        ({}, "no question"),
        ({"v1_0": "text"}, "no object of objects"),
        ({"v1_0": {**QUESTIONS["v1_0"], "question": 1}}, "`question`"),
        ({"v1_0": {**QUESTIONS["v1_0"], "imagename": "v1_9.png"}}, "v1_9.png"),
        ([], "no JSON object"),
    ):
        path.write_text(json.dumps(changed))
        refused(data, word)
    path.write_text(json.dumps(QUESTIONS).replace("v1_1", "v1_0"))
    refused(data, "v1_0 twice")
    path.unlink()
    refused(data, "no question file of MM-Vet", "mm-vet.json", "llava-mm-vet.jsonl")
    lines = [json.dumps({**line, "question_id": 3}) for line in LLAVA]
    (data / "mm-vet/llava-mm-vet.jsonl").write_text("\n".join(lines))
    refused(data, "v1_3 twice")
