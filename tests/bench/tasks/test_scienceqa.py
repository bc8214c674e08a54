"""ScienceQA-IMG: LLaVA's prompts and its reading of letters, from the authors' files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imp_deploy.bench.tasks.scienceqa import TASK, mark
from imp_deploy.bench.tasks.task import FilePicture, Question
from imp_deploy.errors import BadInput

SUFFIX = "\nAnswer with the option's letter from the given choices directly."


def problem(**changes: Any) -> dict[str, Any]:
    return {
        "question": "Which is bigger?",
        "choices": ["an ant", "a cow", "a mouse"],
        "answer": 1,
        "hint": "",
        "image": "image.png",
        "subject": "natural science",
        "split": "test",
        **changes,
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    problems = {
        "7": problem(hint="Animals differ.\nLook at them."),
        "8": problem(image=None),
        "12": problem(choices=["yes", "no"], answer=0, subject="language science"),
        "20": problem(split="val"),
    }
    for folder in ("test/7", "test/12", "val/20"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        Image.new("RGB", (4, 4), "red").save(tmp_path / "images" / folder / "image.png")
    write(tmp_path / "problems.json", problems)
    write(tmp_path / "pid_splits.json", {"train": [], "val": ["20"], "test": ["7", "8", "12"]})
    return tmp_path


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def change(path: Path, key: str, **changes: Any) -> None:
    value = json.loads(path.read_text())
    value[key] |= changes
    write(path, value)


def refused(data: Path, *words: str, split: str | None = None) -> None:
    with pytest.raises(BadInput) as error:
        TASK.read(data, split)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert message.endswith(".")
    assert "\n" not in message


def entry(id: str, value: str, answer: str, **more: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]
    return {"id": id, **more, "conversations": turns}


def test_only_pictured_problems_are_asked_with_llavas_prompts(data: Path) -> None:
    loaded = TASK.read(data, None)
    assert loaded.split == "test"
    assert [question.id for question in loaded.questions] == ["7", "12"]
    first, second = loaded.questions
    assert first.text == (
        "Context: Animals differ.\nLook at them.\nWhich is bigger?\nA. an ant\nB. a cow\nC. a mouse"
        + SUFFIX
    )
    assert second.text == "Which is bigger?\nA. yes\nB. no" + SUFFIX
    assert (first.truth, second.truth) == ("B", "A")
    assert first.picture.key == "images/test/7/image.png"
    assert first.picture.load().size == (4, 4)
    assert second.stratum == "language science"
    assert [question.id for question in TASK.read(data, "val").questions] == ["20"]


def test_llavas_own_prompts_win(data: Path) -> None:
    entries = [
        entry("12", "<image>\nSay yes or no:\nA. yes\nB. no", "A", image="12/image.png"),
        entry("8", "no picture", "B"),
        entry("7", "<image>\nSeven", "B", image="7/image.png"),
    ]
    write(data / "llava_test_CQM-A.json", entries)
    questions = TASK.read(data, None).questions
    assert [question.text for question in questions] == [
        "Seven" + SUFFIX,
        "Say yes or no:\nA. yes\nB. no" + SUFFIX,
    ]
    write(data / "llava_test_CQM-A.json", entries[:2])
    refused(data, "llava_test_CQM-A.json", "(7)", "not of the same split")
    write(data / "llava_test_CQM-A.json", [*entries, entries[0]])
    refused(data, "12 twice")
    for wrong in ("B", "", "AB"):
        twelve = entry("12", "<image>\nTwelve", wrong, image="12/image.png")
        write(data / "llava_test_CQM-A.json", [*entries[1:], twelve])
        refused(data, "disagree", "12")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("B. a cow", "B"),
        ("B\na cow", ""),
        ("B.", ""),  # too short for a letter, a full stop and a blank
        ("B a cow", ""),
        ("b", ""),
        ("The answer is B", ""),  # LLaVA wants a character behind it
        ("It is big. The answer is B.", "B"),
        ("The answer is A or B. The answer is B.", ""),  # two of them
        ("the answer is B", ""),
        ("A cow", ""),
        ("", ""),
    ],
)
def test_letters_are_read_as_llava_does_and_never_guessed(answer: str, letter: str) -> None:
    question = Question("7", "?", FilePicture("a.png", Path("a.png")), "B")
    assert mark(question, answer) == (float(letter == "B"), letter)


def test_files_that_do_not_fit(data: Path) -> None:
    problems = data / "problems.json"
    content = problems.read_text()
    problems.write_text(content.replace('"8":', '"7":'))
    refused(data, "holds 7 twice")
    problems.write_text(content)
    refused(data / "nowhere", "does not exist")
    refused(data / "problems.json", "is a file")
    refused(data, "no split 'tset'", "test, val", split="tset")
    good = json.loads((data / "pid_splits.json").read_text())
    for ids, words in (
        (["7", "7"], ["7 twice"]),
        (["7", "99"], ["99", "does not hold"]),
        (["7", "20"], ["20", "'val'", "'test'"]),
        (["8"], ["no question"]),
        ("7", ["no list of ids"]),
    ):
        write(data / "pid_splits.json", {**good, "test": ids})
        refused(data, *words)
    write(data / "pid_splits.json", {"minitest": ["7"]})
    refused(data, "names none of test")
    write(data / "pid_splits.json", good)
    (data / "images/test/12/image.png").unlink()
    refused(data, "12/image.png")
    (data / "pid_splits.json").unlink()
    refused(data, "pid_splits.json")
    (data / "pid_splits.json").mkdir()
    refused(data, "pid_splits.json", "folder where a file should be")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"answer": 3}, "none of its options"),
        ({"answer": -1}, "none of its options"),
        ({"answer": "1"}, "`answer`"),
        ({"answer": True}, "`answer`"),
        ({"choices": "no list"}, "`choices`"),
        ({"choices": ["only one"]}, "`choices`"),
        ({"choices": ["a", 2]}, "`choices`"),
        ({"question": None}, "`question`"),
        ({"hint": 3}, "`hint`"),
        ({"image": 3}, "`image`"),
    ],
)
def test_problems_that_do_not_fit(data: Path, changes: dict[str, Any], word: str) -> None:
    change(data / "problems.json", "7", **changes)
    refused(data, "problem 7", word)
