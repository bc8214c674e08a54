from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imp_deploy.bench.tasks.vizwiz import TASK
from imp_deploy.errors import BadInput
from tests.bench.tasks.drawn import draw, totals, write, write_lines
from tests.small import one_sentence

SUFFIX = (
    "\nWhen the provided information is insufficient, respond with 'Unanswerable'."
    "\nAnswer the question using a single word or phrase."
)
ANSWERS = [
    ("other", 1, ["coke"] * 3 + ["coca cola"] * 7),
    ("unanswerable", 0, ["unanswerable"] * 8 + ["white"] * 2),
    ("other", 1, ["The end"] * 9 + ["end"]),
]


def image(number: int, split: str) -> str:
    return f"VizWiz_{split}_{number:08d}.jpg"


def entries() -> list[dict[str, Any]]:
    return [
        {
            "image": image(number, "val"),
            "question": f"what is This {number}? ",
            "answers": [{"answer_confidence": "yes", "answer": answer} for answer in answers],
            "answer_type": kind,
            "answerable": answerable,
        }
        for number, (kind, answerable, answers) in enumerate(ANSWERS)
    ]


@pytest.fixture
def val(tmp_path: Path) -> Path:
    write(tmp_path / "val.json", entries())
    draw(tmp_path / "val", [image(number, "val") for number in range(3)])
    return tmp_path


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """As in LLaVA's playground/data/eval/vizwiz."""
    asked = [{"image": image(n, "test"), "question": f"what is This {n}? "} for n in range(2)]
    write(tmp_path / "test.json", asked)
    write_lines(
        tmp_path / "llava_test.jsonl",
        [
            {
                "question_id": n,
                "image": image(n, "test"),
                "text": f"What is this {n}? {SUFFIX}",
                "category": "default",
            }
            for n in range(2)
        ],
    )
    draw(tmp_path / "test", [image(number, "test") for number in range(2)])
    return tmp_path


def test_the_authors_file_gives_questions_pictures_and_the_score(val: Path) -> None:
    loaded = TASK.read(val, None)
    assert loaded.split == "val"
    first = loaded.questions[0]
    assert (first.id, first.stratum) == ("VizWiz_val_00000000.jpg", "other")
    assert first.text == f"What is this 0? {SUFFIX}"
    assert first.picture.key == "val/VizWiz_val_00000000.jpg"
    assert first.picture.load().size == (8, 6)
    # Coke, of 3 people: 0.9. Unanswerable, of 8: 1. "the end" becomes "end", of 1: 0.3.
    found = totals(TASK, loaded, ["Coke", "Unanswerable", "The end"])
    assert round(found.value, 2) == 73.33
    assert {kind: round(part, 2) for kind, part in found.parts.items()} == {
        "other": 60.0,
        "unanswerable": 100.0,
    }


@pytest.mark.parametrize("left_out", ["test.json", "llava_test.jsonl", None])
def test_the_server_gets_an_answer_per_image(server: Path, left_out: str | None) -> None:
    """Whichever of the two files is there, the same is asked."""
    if left_out:
        (server / left_out).unlink()
    loaded = TASK.read(server, None)
    assert loaded.split == "test"
    assert [q.text for q in loaded.questions] == [f"What is this {n}? {SUFFIX}" for n in range(2)]
    assert TASK.submission is not None
    name, content = TASK.submission([(q, "A Cat.") for q in loaded.questions])
    assert name == "vizwiz-submission.json"
    assert json.loads(content) == [
        {"image": "VizWiz_test_00000000.jpg", "answer": "cat"},
        {"image": "VizWiz_test_00000001.jpg", "answer": "cat"},
    ]


def test_both_files_of_test_must_ask_about_the_same_images(server: Path) -> None:
    write(server / "test.json", [{"image": image(0, "test"), "question": "what is it?"}])
    with pytest.raises(BadInput, match=r"1 question\(s\) that are not in .*VizWiz_test_00000001"):
        TASK.read(server, None)


def test_several_splits_must_be_chosen_from(val: Path, server: Path) -> None:
    assert val == server
    with pytest.raises(BadInput, match="holds the splits val, test; choose one with --split"):
        TASK.read(val, None)
    assert len(TASK.read(val, "val").questions) == 3
    assert len(TASK.read(val, "test").questions) == 2


def broken(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    def write_it(data: Path) -> None:
        given = entries()
        change(given)
        write(data / "val.json", given)

    return write_it


def make_folder(data: Path) -> None:
    (data / "val.json").unlink()
    (data / "val.json").mkdir()


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (broken(lambda e: e.append(e[0])), "a question about VizWiz_val_00000000.jpg twice"),
        (broken(lambda e: e[1].update(image=image(1, "train"))), "not of the split val"),
        (broken(lambda e: e.clear()), "holds no question"),
        (broken(lambda e: e[0].update(image=7)), "no usable `image`"),
        (broken(lambda e: e[0].pop("question")), "no usable `question`"),
        (broken(lambda e: e[0].pop("answers")), "no usable `answers`"),
        (broken(lambda e: e[0]["answers"].pop()), "9 answers and not 10"),
        (broken(lambda e: e[0]["answers"].append({"answer": "x"})), "11 answers and not 10"),
        (broken(lambda e: e[0]["answers"].append("x")), "no list of objects"),
        (broken(lambda e: e[0].update(answerable=2)), "no usable `answerable`"),
        (broken(lambda e: e[0].update(answer_type=None)), "no usable `answer_type`"),
        (lambda data: (data / "val.json").write_text(""), "is not valid JSON"),
        (lambda data: (data / "val.json").write_text("{}"), "is no list of objects"),
        (make_folder, "is a folder where a file should be"),
        (lambda data: (data / "val" / image(2, "val")).unlink(), "VizWiz_val_00000002.jpg, which"),
    ],
)
def test_what_does_not_fit_is_bad_input(
    val: Path, breaks: Callable[[Path], None], says: str
) -> None:
    breaks(val)
    with pytest.raises(BadInput, match=says) as caught:
        TASK.read(val, None)
    assert one_sentence(str(caught.value))
