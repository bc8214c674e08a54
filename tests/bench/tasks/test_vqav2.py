from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imp_deploy.bench.tasks.vqav2 import TASK
from imp_deploy.errors import BadInput
from tests.bench.tasks.drawn import draw, totals, write, write_lines
from tests.small import one_sentence

QUESTIONS = "v2_OpenEnded_mscoco_val2014_questions.json"
ANNOTATIONS = "v2_mscoco_val2014_annotations.json"
SUFFIX = "\nAnswer the question using a single word or phrase."
ANSWERS = [
    ("yes/no", ["yes"] * 10),
    ("number", ["2"] * 3 + ["3"] * 7),
    ("other", ["red"] * 2 + ["red and white"] * 6 + ["white"] * 2),
    ("other", ["the cat"] * 5 + ["cat"] * 4 + ["dog"]),
]


def questions() -> dict[str, Any]:
    """Two questions about each of two images."""
    return {
        "info": {},
        "task_type": "Open-Ended",
        "data_type": "mscoco",
        "license": {},
        "data_subtype": "val2014",
        "questions": [
            {"image_id": 42 + n // 2, "question": f"Question {n}?", "question_id": 42000 + n}
            for n in range(4)
        ],
    }


def annotations() -> dict[str, Any]:
    return {
        "info": {},
        "license": {},
        "data_subtype": "val2014",
        "annotations": [
            {
                "question_type": "is it",
                "multiple_choice_answer": answers[0],
                "answers": [
                    {"answer": answer, "answer_confidence": "yes", "answer_id": place}
                    for place, answer in enumerate(answers, start=1)
                ],
                "image_id": 42 + n // 2,
                "answer_type": kind,
                "question_id": 42000 + n,
            }
            for n, (kind, answers) in enumerate(ANSWERS)
        ],
        "data_type": "mscoco",
    }


@pytest.fixture
def val(tmp_path: Path) -> Path:
    write(tmp_path / QUESTIONS, questions())
    write(tmp_path / ANNOTATIONS, annotations())
    draw(tmp_path / "val2014", ["COCO_val2014_000000000042.jpg", "COCO_val2014_000000000043.jpg"])
    return tmp_path


def llava(subset: str, numbers: list[int]) -> list[dict[str, Any]]:
    folder = "val2014" if subset == "val2014" else "test2015"
    return [
        {
            "question_id": number,
            "image": f"COCO_{folder}_{number // 1000:012d}.jpg",
            "text": f"Question {number % 1000}?{SUFFIX}",
            "category": "default",
        }
        for number in numbers
    ]


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """As in LLaVA's playground/data/eval/vqav2; of the four questions two are of test-dev."""
    for subset, numbers in (("test-dev2015", [1001, 2000]), ("test2015", [2000, 1000, 1001, 3000])):
        write_lines(tmp_path / f"llava_vqav2_mscoco_{subset}.jsonl", llava(subset, numbers))
    draw(tmp_path / "test2015", [f"COCO_test2015_{n:012d}.jpg" for n in (1, 2, 3)])
    return tmp_path


def test_the_authors_files_give_questions_pictures_and_the_score(val: Path) -> None:
    loaded = TASK.read(val, None)
    assert loaded.split == "val"
    assert [q.id for q in loaded.questions] == ["42000", "42001", "42002", "42003"]
    assert loaded.questions[1].text == f"Question 1?{SUFFIX}"
    assert [q.stratum for q in loaded.questions] == ["yes/no", "number", "other", "other"]
    assert loaded.questions[2].picture.key == "val2014/COCO_val2014_000000000043.jpg"
    assert loaded.questions[2].picture.load().size == (8, 6)
    # Yes: 1. two, of 3 people: 0.9. Red, of 2: 0.6. A cat, of 9 people: 1.
    found = totals(TASK, loaded, ["Yes", "two", "Red.", "A cat"])
    assert round(found.value, 2) == 87.5
    assert {kind: round(part, 2) for kind, part in found.parts.items()} == {
        "number": 90.0,
        "other": 80.0,
        "yes/no": 100.0,
    }


def test_llavas_questions_are_not_given_the_suffix_twice(val: Path) -> None:
    (val / QUESTIONS).unlink()
    numbers = [42000, 42001, 43002, 43003]
    lines = llava("val2014", numbers)
    for number, line in enumerate(lines):
        line["question_id"] = 42000 + number
    write_lines(val / "llava_vqav2_mscoco_val2014.jsonl", lines)
    loaded = TASK.read(val, "val")
    assert [q.text for q in loaded.questions] == [f"Question {n}?{SUFFIX}" for n in range(4)]
    assert totals(TASK, loaded, ["yes", "2", "x", "x"]).value == pytest.approx(47.5)


def test_test_dev_is_submitted_with_empty_answers_to_the_rest_of_test(server: Path) -> None:
    """The server refuses a file without an entry for each question of test."""
    loaded = TASK.read(server, "test-dev")
    assert loaded.split == "test-dev"
    assert [(q.id, q.truth) for q in loaded.questions] == [("1001", None), ("2000", None)]
    assert TASK.submission is not None
    name, content = TASK.submission(list(zip(loaded.questions, ["The Cat.", "2,000"], strict=True)))
    assert name == "vqav2-submission.json"
    assert json.loads(content) == [
        {"question_id": 2000, "answer": "2000"},
        {"question_id": 1000, "answer": ""},
        {"question_id": 1001, "answer": "cat"},
        {"question_id": 3000, "answer": ""},
    ]


def test_all_of_test_is_submitted_in_its_order(server: Path) -> None:
    (server / "llava_vqav2_mscoco_test-dev2015.jsonl").unlink()
    loaded = TASK.read(server, None)
    assert loaded.split == "test"
    assert TASK.submission is not None
    _, content = TASK.submission([(question, "Yes") for question in loaded.questions])
    assert [entry["question_id"] for entry in json.loads(content)] == [2000, 1000, 1001, 3000]
    assert {entry["answer"] for entry in json.loads(content)} == {"yes"}


def test_test_dev_without_test_cannot_be_submitted(server: Path) -> None:
    (server / "llava_vqav2_mscoco_test2015.jsonl").unlink()
    with pytest.raises(BadInput, match="the server wants an answer to each"):
        TASK.read(server, None)


def test_a_question_of_test_dev_must_be_one_of_test(server: Path) -> None:
    path = server / "llava_vqav2_mscoco_test-dev2015.jsonl"
    write_lines(path, llava("test-dev2015", [1001, 1009]))
    with pytest.raises(BadInput, match="holds the question 1009, which is not in"):
        TASK.read(server, "test-dev")


def test_several_splits_must_be_chosen_from(server: Path) -> None:
    with pytest.raises(BadInput, match="holds the splits test-dev, test; choose one with --split"):
        TASK.read(server, None)
    with pytest.raises(BadInput, match="no split 'train'; give --split one of val, test-dev, test"):
        TASK.read(server, "train")


def broken(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[Path], None]:
    def write_both(data: Path) -> None:
        asked, given = questions(), annotations()
        change(asked, given)
        write(data / QUESTIONS, asked)
        write(data / ANNOTATIONS, given)

    return write_both


def make_folder(data: Path) -> None:
    (data / ANNOTATIONS).unlink()
    (data / ANNOTATIONS).mkdir()


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (broken(lambda q, _: q["questions"].pop(1)), r"1 question\(s\) that are not in .*42001"),
        (broken(lambda _, a: a["annotations"].pop(2)), r"1 question\(s\) that are not .*42002"),
        (broken(lambda q, _: q["questions"].append(q["questions"][0])), "question 42000 twice"),
        (broken(lambda _, a: a["annotations"].append(a["annotations"][0])), "42000 twice"),
        (broken(lambda q, _: q.update(data_subtype="train2014")), "train2014 and not of val2014"),
        (broken(lambda _, a: a.update(data_subtype="train2014")), "train2014 and not of val2014"),
        (broken(lambda q, _: q.pop("data_subtype")), "no usable `data_subtype`"),
        (broken(lambda q, _: q.update(questions=[])), "holds no question"),
        (broken(lambda q, _: q.update(questions=[1])), "no list of objects"),
        (broken(lambda q, _: q.update(questions={})), "no usable `questions`"),
        (broken(lambda q, _: q["questions"][0].update(question=3)), "42000 has no usable `quest"),
        (broken(lambda q, _: q["questions"][0].update(question_id="1")), "no usable `question_id`"),
        (broken(lambda q, _: q["questions"][0].update(image_id=None)), "no usable `image_id`"),
        (broken(lambda q, _: q["questions"][0].update(image_id=43)), "is about COCO_val2014_.*42"),
        (broken(lambda _, a: a["annotations"][0]["answers"].pop()), "42000 has 9 answers and not"),
        (broken(lambda _, a: a["annotations"][0].update(answers="yes")), "no usable `answers`"),
        (broken(lambda _, a: a["annotations"][0]["answers"].append({"answer": "x"})), "11 answers"),
        (
            broken(lambda _, a: a["annotations"][0]["answers"][3].update(answer=2)),
            "that is no text",
        ),
        (broken(lambda _, a: a["annotations"][0].pop("answer_type")), "no usable `answer_type`"),
        (lambda data: (data / QUESTIONS).unlink(), "holds no questions of val"),
        (lambda data: (data / ANNOTATIONS).unlink(), "holds no answers of val"),
        (lambda data: (data / ANNOTATIONS).write_text(""), "is not valid JSON"),
        (lambda data: (data / ANNOTATIONS).write_text("[]"), "holds no JSON object"),
        (make_folder, "is a folder where a file should be"),
        (
            lambda data: (data / "val2014" / "COCO_val2014_000000000043.jpg").unlink(),
            r"question 42002 asks about the image COCO_val2014_000000000043.jpg, which is not in",
        ),
    ],
)
def test_what_does_not_fit_is_bad_input(
    val: Path, breaks: Callable[[Path], None], says: str
) -> None:
    breaks(val)
    with pytest.raises(BadInput, match=says) as caught:
        TASK.read(val, None)
    assert one_sentence(str(caught.value))


def test_a_folder_is_needed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        TASK.read(tmp_path / "no", None)
    with pytest.raises(BadInput, match="holds no questions"):
        TASK.read(tmp_path, None)
