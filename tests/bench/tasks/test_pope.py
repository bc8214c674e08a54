"""POPE: LLaVA's reading of yes and no, and the five figures of each file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imp_deploy.bench.tasks.pope import TASK, mark, total
from imp_deploy.bench.tasks.task import FilePicture, Marked, Question
from imp_deploy.errors import BadInput

PICTURES = ("COCO_val2014_000000000001.jpg", "COCO_val2014_000000000002.jpg")


def entries(way: str) -> list[dict[str, Any]]:
    return [
        {
            "question_id": number,
            "image": PICTURES[number % 2],
            "text": f"Is there a {way} thing {number} in the image?",
            "label": "yes" if number % 2 else "no",
        }
        for number in range(1, 5)
    ]


def write(path: Path, lines: list[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """In LLaVA's layout."""
    for name in ("coco", "val2014"):
        (tmp_path / name).mkdir()
    for name in PICTURES:
        Image.new("RGB", (4, 4), "blue").save(tmp_path / "val2014" / name)
    for way in ("random", "popular", "adversarial"):
        write(tmp_path / "coco" / f"coco_pope_{way}.json", entries(way))
    return tmp_path


def refused(data: Path, *words: str, split: str | None = None) -> None:
    with pytest.raises(BadInput) as error:
        TASK.read(data, split)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert message.endswith(".")
    assert "\n" not in message


def test_all_three_files_are_asked(data: Path) -> None:
    questions = TASK.read(data, None).questions
    assert len(questions) == 12
    assert questions[0].id == "random-1"
    assert questions[0].text == (
        "Is there a random thing 1 in the image?\n"
        "Answer the question using a single word or phrase."
    )
    assert [q.stratum for q in questions[::4]] == ["random", "popular", "adversarial"]
    assert len({question.picture.key for question in questions}) == 2
    assert questions[0].picture.key == f"val2014/{PICTURES[1]}"
    assert questions[0].picture.load().size == (4, 4)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"),
        ("yes.", "yes"),
        ("No", "no"),
        ("no", "no"),
        ("No, there is none", "no"),  # the comma goes
        ("There is not. Yes", "no"),  # the first sentence only
        ("Yes. No", "yes"),
        ("NO", "yes"),  # the authors look for three spellings
        ("None", "yes"),
        ("Nothing", "yes"),
        ("There isn't", "yes"),
        ("no\n", "yes"),  # words are what is between blanks
        ("", "yes"),
    ],
)
def test_yes_and_no_are_read_as_llava_does(answer: str, said: str) -> None:
    question = Question("random-1", "?", FilePicture("a.png", Path("a.png")), "no")
    assert mark(question, answer) == (float(said == "no"), said)


def marked(way: str, pairs: str) -> list[Marked]:
    """`pairs`: said and true, as in "yn"."""
    word = {"y": "yes", "n": "no"}
    picture = FilePicture("a.png", Path("a.png"))
    return [
        Marked(
            Question(f"{way}-{number}", "?", picture, word[true], stratum=way),
            word[said],
            float(said == true),
            word[said],
        )
        for number, (said, true) in enumerate(pairs.split())
    ]


def test_the_figures_by_hand() -> None:
    # random: TP 3, FP 1, TN 3, FN 1: precision, recall and F1 3/4. popular: TP 2, FP 2, FN 0, TN 0:
    # precision 1/2, recall 1, F1 2/3. adversarial: never yes: all three 0.
    answers = (
        marked("random", "yy yy yy yn nn nn nn ny")
        + marked("popular", "yy yy yn yn")
        + marked("adversarial", "ny nn nn nn")
    )
    totals = total(answers)
    assert totals.value == pytest.approx(100 * (3 / 4 + 2 / 3 + 0) / 3)
    assert totals.parts == pytest.approx(
        {
            "random accuracy": 75,
            "random precision": 75,
            "random recall": 75,
            "random F1": 75,
            "random yes-ratio": 50,
            "popular accuracy": 50,
            "popular precision": 50,
            "popular recall": 100,
            "popular F1": 200 / 3,
            "popular yes-ratio": 100,
            "adversarial accuracy": 75,
            "adversarial precision": 0,
            "adversarial recall": 0,
            "adversarial F1": 0,
            "adversarial yes-ratio": 0,
        }
    )


def test_part_of_pope_is_refused(data: Path) -> None:
    refused(data, "no split 'random'", "test", split="random")
    popular = data / "coco/coco_pope_popular.json"
    content = popular.read_text()
    popular.unlink()
    refused(data, "lacks coco_pope_popular.json")
    popular.mkdir()
    refused(data, "folder where a file should be", "popular")
    popular.rmdir()
    popular.write_text("")
    refused(data, "popular", "no question")
    popular.write_text(json.dumps(entries("popular"), indent=1))
    refused(data, "popular", "line 1 is no JSON")
    popular.write_text((data / "coco/coco_pope_random.json").read_text())
    refused(data, "popular", "same questions as coco_pope_random.json")
    popular.write_text(content)
    (data / "val2014" / PICTURES[0]).unlink()
    refused(data, PICTURES[0], "val2014")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"label": "Yes"}, "'Yes'"),
        ({"label": None}, "`label`"),
        ({"question_id": None}, "`question_id`"),
        ({"question_id": 2}, "2 twice"),
        ({"text": 5}, "`text`"),
        ({"text": "half a character: \ud83d"}, "line 3 is no JSON"),
        ({"image": None}, "`image`"),
        ({"image": "COCO_val2014_9.jpg"}, "COCO_val2014_9.jpg"),
    ],
)
def test_entries_that_do_not_fit(data: Path, changes: dict[str, Any], word: str) -> None:
    lines = entries("popular")
    lines[2] |= changes
    write(data / "coco/coco_pope_popular.json", lines)
    refused(data, "coco_pope_popular.json", word)
