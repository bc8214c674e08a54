"""A folder of one's own pictures and prompts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imp_deploy.bench.tasks.folder import TASK
from imp_deploy.errors import BadInput


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a/c.jpg", ".hidden.png", ".cache/d.png", "a/.e/f.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "notes.md").write_text("no picture")
    return tmp_path


def refused(data: Path, *words: str, split: str | None = None) -> None:
    with pytest.raises(BadInput) as error:
        TASK.read(data, split)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert message.endswith(".")
    assert "\n" not in message


def each(data: Path, *entries: dict[str, Any]) -> None:
    (data / "prompts.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_each_prompt_is_asked_about_each_picture(data: Path) -> None:
    (data / "prompts.txt").write_text("What is this?\r\n\n  Was ist das, süß?  \n", "utf-8")
    loaded = TASK.read(data, None)
    assert [(q.id, q.picture.key, q.text) for q in loaded.questions] == [
        ("a/c.jpg#1", "a/c.jpg", "What is this?"),
        ("a/c.jpg#2", "a/c.jpg", "Was ist das, süß?"),
        ("b.PNG#1", "b.PNG", "What is this?"),
        ("b.PNG#2", "b.PNG", "Was ist das, süß?"),
    ]
    assert loaded.questions[0].picture.load().size == (4, 4)
    assert all(question.truth is None for question in loaded.questions)
    assert TASK.mark is None
    assert TASK.submission is None


def test_prompts_for_single_pictures(data: Path) -> None:
    each(
        data,
        {"image": "b.PNG", "prompt": "One?"},
        {"image": "a/c.jpg", "prompt": "Two?", "id": "two"},
        {"image": "b.PNG", "prompt": "Three?", "id": 3},
    )
    questions = TASK.read(data, None).questions
    assert [(q.id, q.picture.key, q.text) for q in questions] == [
        ("b.PNG#1", "b.PNG", "One?"),
        ("two", "a/c.jpg", "Two?"),
        ("3", "b.PNG", "Three?"),
    ]


def test_folders_that_do_not_fit(data: Path) -> None:
    refused(data, "no prompts", "prompts.txt, prompts.jsonl")
    refused(data / "b.PNG", "is a file")
    refused(data / "nowhere", "does not exist")
    (data / "prompts.txt").write_text("\n \n")
    refused(data, "prompts.txt", "no question")
    (data / "prompts.txt").write_text("What?")
    refused(data, "no split 'test'", "all", split="test")
    (data / "prompts.jsonl").write_text("")
    refused(data, "both prompts.txt and prompts.jsonl")
    (data / "prompts.txt").unlink()
    refused(data, "prompts.jsonl", "no question")
    (data / "empty").mkdir()
    (data / "empty/prompts.txt").write_text("What?")
    refused(data / "empty", "no picture")


def test_a_name_that_no_result_file_can_hold_is_refused(data: Path) -> None:
    (data / "prompts.txt").write_text("What?")
    (data / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    refused(data, "no UTF-8", "rename")


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"image": "b.PNG", "prompt": " "}, "empty prompt"),
        ({"image": "b.PNG", "question": "What?"}, "['question']"),
        ({"image": "b.PNG"}, "`prompt`"),
        ({"image": "x.png", "prompt": "What?"}, "x.png"),
        ({"image": ".hidden.png", "prompt": "What?"}, ".hidden.png"),
        ({"image": "b.PNG", "prompt": "What?", "id": "one"}, "one twice"),
        ({"image": "b.PNG", "prompt": "What?", "id": None}, "`id`"),
    ],
)
def test_entries_that_do_not_fit(data: Path, entry: dict[str, Any], word: str) -> None:
    each(data, {"image": "b.PNG", "prompt": "What?", "id": "one"}, entry)
    refused(data, "prompts.jsonl", word)
