from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imp_deploy.bench.tasks.textvqa import TASK
from imp_deploy.errors import BadInput
from tests.bench.tasks.drawn import draw, totals, write, write_lines
from tests.small import one_sentence

ANNOTATIONS = "TextVQA_0.5.1_val.json"
OCR = "llava_textvqa_val_v051_ocr.jsonl"
SUFFIX = "\nAnswer the question using a single word or phrase."
IMAGES = ["003a8ae2ef43b901", "831bcec304a17054", "831bcec304a17054"]
ASKED = ["what is the brand of this Camera?", "what liquor is this?", "how old is it?"]
ANSWERS = [
    ["Dakota Digital"] * 2 + ["dakota"] * 8,
    ["Glenmorangie"] * 10,
    ["10 years"] * 3 + ["Ten Years."] * 3 + ["10"] * 4,
]


def annotations() -> dict[str, Any]:
    return {
        "dataset_type": "val",
        "dataset_name": "textvqa",
        "dataset_version": "0.5.1",
        "data": [
            {
                "question": ASKED[n],
                "image_id": IMAGES[n],
                "image_classes": ["Bottle"],
                "flickr_original_url": "",
                "flickr_300k_url": "",
                "image_width": 8,
                "image_height": 6,
                "answers": ANSWERS[n],
                "question_tokens": ASKED[n].split(),
                "question_id": 34602 + n,
                "set_name": "val",
            }
            for n in range(3)
        ],
    }


def lines() -> list[dict[str, Any]]:
    return [
        {
            "question_id": IMAGES[n],
            "image": f"{IMAGES[n]}.jpg",
            "text": f"{ASKED[n].capitalize()}\nReference OCR token: {'WORD, ' * n}{SUFFIX}",
            "category": "default",
        }
        for n in (2, 0, 1)
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """As in LLaVA's playground/data/eval/textvqa."""
    write(tmp_path / ANNOTATIONS, annotations())
    write_lines(tmp_path / OCR, lines())
    draw(tmp_path / "train_images", [f"{name}.jpg" for name in dict.fromkeys(IMAGES)])
    return tmp_path


def test_the_authors_file_gives_questions_pictures_and_the_score(data: Path) -> None:
    (data / OCR).unlink()
    loaded = TASK.read(data, None)
    assert loaded.split == "val"
    first = loaded.questions[0]
    assert (first.id, first.text) == ("34602", f"What is the brand of this camera?{SUFFIX}")
    assert first.picture.key == "train_images/003a8ae2ef43b901.jpg"
    assert first.picture.load().size == (8, 6)
    # Of 2 people: 0.6. A comma and a question mark vanish: 1. Both spellings are one, of 6: 1.
    found = totals(TASK, loaded, ["dakota digital.", "Glenmorangie?,", "10 Years"])
    assert round(found.value, 2) == 86.67


def test_ocr_tokens_are_asked_with_only_on_demand(data: Path) -> None:
    """The paper's protocol is another with them: figures of the two must not mix."""
    assert TASK.read(data, None).split == "val"
    assert "OCR" not in TASK.read(data, "val").questions[1].text
    loaded = TASK.read(data, "val-ocr")
    assert loaded.split == "val-ocr"
    assert [q.id for q in loaded.questions] == ["34602", "34603", "34604"]
    assert loaded.questions[2].text == f"How old is it?\nReference OCR token: WORD, WORD, {SUFFIX}"
    plain = TASK.read(data, "val").questions
    assert [q.truth for q in loaded.questions] == [q.truth for q in plain]


def broken(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    def write_it(data: Path) -> None:
        given = annotations()
        change(given["data"])
        write(data / ANNOTATIONS, given)

    return write_it


def broken_lines(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    def write_it(data: Path) -> None:
        given = lines()
        change(given)
        write_lines(data / OCR, given)

    return write_it


def make_folder(data: Path) -> None:
    (data / ANNOTATIONS).unlink()
    (data / ANNOTATIONS).mkdir()


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (broken(lambda e: e.append(e[0])), "holds the question 34602 twice"),
        (broken(lambda e: e[1].update(set_name="train")), "34603 is of the split train"),
        (broken(lambda e: e.clear()), "holds no question"),
        (broken(lambda e: e[0].update(question_id="34602")), "no usable `question_id`"),
        (broken(lambda e: e[0].update(question=1)), "no usable `question`"),
        (broken(lambda e: e[0].update(image_id=1)), "no usable `image_id`"),
        (broken(lambda e: e[0].update(answers=["x"] * 9)), "9 answers and not 10"),
        (broken(lambda e: e[0].update(answers=["x"] * 11)), "11 answers and not 10"),
        (broken(lambda e: e[0].update(answers=[1] * 10)), "an answer that is no text"),
        (broken(lambda e: e[0].update(answers="x")), "no usable `answers`"),
        (lambda data: (data / ANNOTATIONS).unlink(), "holds no questions with answers"),
        (lambda data: (data / ANNOTATIONS).write_text(""), "is not valid JSON"),
        (lambda data: (data / ANNOTATIONS).write_text('{"data": 1}'), "no usable `data`"),
        (make_folder, "is a folder where a file should be"),
        (
            lambda data: (data / "train_images" / "003a8ae2ef43b901.jpg").unlink(),
            "34602 asks about the image 003a8ae2ef43b901.jpg, which is not in",
        ),
    ],
)
@pytest.mark.parametrize("split", [None, "val-ocr"])
def test_what_does_not_fit_is_bad_input(
    data: Path, breaks: Callable[[Path], None], says: str, split: str | None
) -> None:
    breaks(data)
    with pytest.raises(BadInput, match=says) as caught:
        TASK.read(data, split)
    assert one_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (broken_lines(lambda e: e.pop()), r"1 question\(s\) that are not in .*what liquor"),
        (broken_lines(lambda e: e[0].update(question_id="0")), "are not in .*0: how old"),
        (broken_lines(lambda e: e.append(e[0])), "how old is it.* 2 times and .* 1 times"),
        (broken_lines(lambda e: e[0].update(text="What?")), "has no line with OCR tokens"),
        (broken_lines(lambda e: e[0].update(text=7)), "no usable `text`"),
        (lambda data: (data / OCR).unlink(), "holds no questions with OCR tokens"),
        (lambda data: (data / OCR).write_text("{"), "line 1 is no JSON"),
    ],
)
def test_questions_with_ocr_tokens_must_be_those_of_the_authors(
    data: Path, breaks: Callable[[Path], None], says: str
) -> None:
    breaks(data)
    with pytest.raises(BadInput, match=says) as caught:
        TASK.read(data, "val-ocr")
    assert one_sentence(str(caught.value))


def test_a_question_asked_twice_about_an_image_keeps_both_truths(data: Path) -> None:
    given = annotations()
    given["data"].append({**given["data"][1], "question_id": 40000, "answers": ["rum"] * 10})
    write(data / ANNOTATIONS, given)
    write_lines(data / OCR, [*lines(), lines()[2]])
    loaded = TASK.read(data, "val-ocr")
    assert [q.truth[0] for q in loaded.questions if q.id in ("34603", "40000")] == [
        "Glenmorangie",
        "rum",
    ]
