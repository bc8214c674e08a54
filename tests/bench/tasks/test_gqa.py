from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imp_deploy.bench.tasks.gqa import TASK
from imp_deploy.errors import BadInput
from tests.bench.tasks.drawn import draw, totals, write, write_lines
from tests.small import one_sentence

QUESTIONS = "testdev_balanced_questions.json"
LLAVA = "llava_gqa_testdev_balanced.jsonl"
SUFFIX = "\nAnswer the question using a single word or phrase."
ASKED = {
    "201307251": ("n161313", "Is it overcast?", "no", "verify"),
    "201640614": ("n235859", "Who is wearing the dress?", "woman", "query"),
    "202225914": ("n161313", "Is the sky blue or gray?", "gray", "choose"),
    "20602803": ("n235859", "What is the bag made of?", "leather", "query"),
}


def questions() -> dict[str, Any]:
    return {
        number: {
            "semantic": [],
            "entailed": [],
            "equivalent": [number],
            "question": text,
            "imageId": image,
            "isBalanced": True,
            "groups": {"global": "", "local": ""},
            "answer": answer,
            "semanticStr": "",
            "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
            "types": {"detailed": "x", "semantic": "attr", "structural": kind},
            "fullAnswer": f"It is {answer}.",
        }
        for number, (image, text, answer, kind) in ASKED.items()
    }


def lines() -> list[dict[str, Any]]:
    return [
        {
            "question_id": number,
            "image": f"{ASKED[number][0]}.jpg",
            "text": ASKED[number][1] + SUFFIX,
            "category": "default",
        }
        for number in sorted(ASKED)
    ]


@pytest.fixture(params=["", "data"])
def data(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """As the authors' files unpack, and as in LLaVA's playground/data/eval/gqa."""
    write(tmp_path / request.param / QUESTIONS, questions())
    draw(tmp_path / request.param / "images", ["n161313.jpg", "n235859.jpg"])
    if request.param:
        write_lines(tmp_path / LLAVA, lines())
    return tmp_path


def test_the_authors_files_give_questions_pictures_and_the_score(data: Path) -> None:
    loaded = TASK.read(data, None)
    assert loaded.split == "testdev-balanced"
    by_id = {q.id: q for q in loaded.questions}
    assert {q.id: q.text for q in loaded.questions} == {
        number: text + SUFFIX for number, (_, text, _, _) in ASKED.items()
    }
    assert by_id["201640614"].picture.key.endswith("images/n235859.jpg")
    assert by_id["201640614"].picture.load().size == (8, 6)
    assert by_id["201640614"].stratum == "query"
    given = {"201307251": "No.", "201640614": "Women", "202225914": "GRAY", "20602803": "leather"}
    found = totals(TASK, loaded, [given[q.id] for q in loaded.questions])
    assert found.value == 75.0
    assert found.parts == {"binary": 100.0, "open": 50.0}


def test_llavas_order_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "data" / "questions1.2" / QUESTIONS, questions())
    write_lines(tmp_path / LLAVA, lines())
    draw(tmp_path / "data" / "images", ["n161313.jpg", "n235859.jpg"])
    assert [q.id for q in TASK.read(tmp_path, None).questions] == sorted(ASKED)


@pytest.mark.parametrize(
    ("answer", "mark"),
    [("no", 1), ("No...", 1), ("NO", 1), ("no, it is not", 0), ("the no", 0), (".no", 0), ("", 0)],
)
def test_only_the_very_word_is_right(tmp_path: Path, answer: str, mark: float) -> None:
    write(tmp_path / QUESTIONS, questions())
    draw(tmp_path / "images", ["n161313.jpg", "n235859.jpg"])
    assert TASK.mark is not None
    assert TASK.mark(TASK.read(tmp_path, None).questions[0], answer)[0] == mark


def broken(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def write_it(data: Path) -> None:
        given = questions()
        change(given)
        write(data / QUESTIONS, given)

    return write_it


def broken_lines(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    def write_it(data: Path) -> None:
        given = lines()
        change(given)
        write_lines(data / LLAVA, given)

    return write_it


def double(data: Path) -> None:
    text = json.dumps(questions())
    (data / QUESTIONS).write_text(text[:-1] + ", " + text[1:])


def make_folder(data: Path) -> None:
    (data / QUESTIONS).unlink()
    (data / QUESTIONS).mkdir()


def only_llavas(data: Path) -> None:
    (data / QUESTIONS).unlink()
    write_lines(data / LLAVA, lines())


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (double, "holds 201307251 twice"),
        (broken(lambda q: q.clear()), "holds no question"),
        (broken(lambda q: q.update({"1": 2})), "is no object of objects"),
        (broken(lambda q: q["201307251"].pop("answer")), "no usable `answer`"),
        (broken(lambda q: q["201307251"].update(question=None)), "no usable `question`"),
        (broken(lambda q: q["201307251"].update(imageId=3)), "no usable `imageId`"),
        (broken(lambda q: q["201307251"].update(types=[])), "no usable `types`"),
        (broken(lambda q: q["201307251"].update(types={})), "no usable `structural`"),
        (broken(lambda q: q["20602803"].update(imageId="n1")), "the image n1.jpg, which is not"),
        (lambda data: (data / QUESTIONS).write_text(""), "is not valid JSON"),
        (lambda data: (data / QUESTIONS).write_text("[]"), "holds no JSON object"),
        (lambda data: (data / QUESTIONS).unlink(), "holds no questions"),
        (make_folder, "is a folder where a file should be"),
        (only_llavas, "holds no questions with answers"),
        (broken_lines(lambda e: e.pop()), r"1 question\(s\) that are not in .*\(20602803\)"),
        (broken_lines(lambda e: e[0].update(question_id="9")), r"that are not in .*\(9\)"),
        (broken_lines(lambda e: e.append(e[0])), "holds the question 201307251 twice"),
        (broken_lines(lambda e: e[0].update(image="n2.jpg")), "is about n2.jpg, and in .* n161313"),
        (broken_lines(lambda e: e[0].pop("text")), "no usable `text`"),
    ],
)
def test_what_does_not_fit_is_bad_input(
    tmp_path: Path, breaks: Callable[[Path], None], says: str
) -> None:
    write(tmp_path / QUESTIONS, questions())
    draw(tmp_path / "images", ["n161313.jpg", "n235859.jpg"])
    breaks(tmp_path)
    with pytest.raises(BadInput, match=says) as caught:
        TASK.read(tmp_path, None)
    assert one_sentence(str(caught.value))


def test_another_split_is_refused(data: Path) -> None:
    with pytest.raises(BadInput, match="no split 'val'; give --split one of testdev-balanced"):
        TASK.read(data, "val")
