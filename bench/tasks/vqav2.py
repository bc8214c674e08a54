"""VQAv2: questions about COCO photographs, with the answers of ten people for the split val.

Read are the authors' files (visualqa.org) and the question files of LLaVA's eval.zip. A server
marks test-dev and test; it wants an answer to each question of test in both cases, and LLaVA gives
it empty ones for those that are not of test-dev (scripts/convert_vqav2_for_submission.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from imp_deploy.bench.tasks import files, vqa_accuracy
from imp_deploy.bench.tasks.suffixes import SHORT, with_suffix
from imp_deploy.bench.tasks.task import Loaded, Question, Task
from imp_deploy.errors import BadInput

SUBMISSION: Final = "vqav2-submission.json"


@dataclass(frozen=True)
class _Split:
    """`subset`: what the authors' files call it. `images`: the folder and the beginning of the
    images' names."""

    subset: str
    images: str

    @property
    def questions(self) -> tuple[str, str]:
        return (
            f"llava_vqav2_mscoco_{self.subset}.jsonl",
            f"v2_OpenEnded_mscoco_{self.subset}_questions.json",
        )


_SPLITS: Final = {
    "val": _Split("val2014", "val2014"),
    "test-dev": _Split("test-dev2015", "test2015"),
    "test": _Split("test2015", "test2015"),
}
_ANNOTATIONS: Final = "v2_mscoco_val2014_annotations.json"


@dataclass(frozen=True)
class ServerQuestion(Question):
    """Of test-dev or test. `submitted`: the ids of all answers that the server wants, in order."""

    submitted: tuple[int, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class _Asked:
    text: str
    image: str


def read(data: Path, split: str | None) -> Loaded:
    """One of val (with answers), test-dev and test (without)."""
    files.folder(data)
    there = [name for name, kind in _SPLITS.items() if files.optional(data, kind.questions)]
    if "val" not in there and files.optional(data, (_ANNOTATIONS,)):
        there.insert(0, "val")
    names = [name for kind in _SPLITS.values() for name in kind.questions]
    split = files.chosen_split(data, split, there, tuple(_SPLITS), ", ".join(names))
    path, asked = _asked(data, split)
    truths = _truths(data, path, asked) if split == "val" else {}
    wanted = _wanted(data, split, path, asked)
    find = files.pictures(data, (_SPLITS[split].images,))
    questions = []
    for number, one in asked.items():
        picture = find(one.image, f"{path}, question {number}")
        text = with_suffix(one.text, SHORT)
        if split == "val":
            kind, answers = truths[number]
            questions.append(Question(str(number), text, picture, answers, kind))
        else:
            questions.append(ServerQuestion(str(number), text, picture, None, submitted=wanted))
    return Loaded(split, tuple(questions))


def _asked(data: Path, split: str) -> tuple[Path, dict[int, _Asked]]:
    """The questions by their ids."""
    kind = _SPLITS[split]
    path = files.first(data, kind.questions, f"questions of {split}")
    found: dict[int, _Asked] = {}
    for entry in _entries(path, kind.subset):
        number = files.value(entry, "question_id", int, str(path))
        if number in found:
            raise BadInput(f"{path} holds the question {number} twice; download it again.")
        where = f"{path}, question {number}"
        if path.suffix == ".jsonl":
            image = files.value(entry, "image", str, where)
            found[number] = _Asked(files.value(entry, "text", str, where), image)
        else:
            image = _image_name(kind, files.value(entry, "image_id", int, where))
            found[number] = _Asked(files.value(entry, "question", str, where), image)
    if not found:
        raise BadInput(f"{path} holds no question; download it again.")
    return path, found


def _image_name(kind: _Split, number: int) -> str:
    return f"COCO_{kind.images}_{number:012d}.jpg"


def _entries(path: Path, subset: str) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return files.objects(path)
    document = files.document(path)
    _check_subset(path, document, subset)
    return files.part(document, "questions", str(path))


def _check_subset(path: Path, document: dict[str, Any], subset: str) -> None:
    found = files.value(document, "data_subtype", str, str(path))
    if found != subset:
        raise BadInput(
            f"{path} is of the split {found} and not of {subset}; download the file of that name "
            "again."
        )


def _truths(
    data: Path, questions: Path, asked: dict[int, _Asked]
) -> dict[int, tuple[str, list[str]]]:
    """Answer type and the ten answers by question id."""
    path = files.first(data, (_ANNOTATIONS,), "answers of val")
    document = files.document(path)
    _check_subset(path, document, _SPLITS["val"].subset)
    found: dict[int, tuple[str, list[str]]] = {}
    for entry in files.part(document, "annotations", str(path)):
        number = files.value(entry, "question_id", int, str(path))
        where = f"{path}, question {number}"
        if number in found:
            raise BadInput(f"{path} holds the question {number} twice; download it again.")
        image = _image_name(_SPLITS["val"], files.value(entry, "image_id", int, where))
        if number in asked and asked[number].image != image:
            raise BadInput(
                f"{where} is about {image}, and in {questions} about {asked[number].image}: they "
                "are not of the same split or version; download both again."
            )
        kind = files.value(entry, "answer_type", str, where)
        found[number] = (kind, files.ten_answers(entry, where))
    files.same_ids(questions, {str(n) for n in asked}, path, {str(n) for n in found})
    return found


def _wanted(data: Path, split: str, path: Path, asked: dict[int, _Asked]) -> tuple[int, ...]:
    """The ids that the server wants, in the order of the files."""
    if split != "test-dev":
        return tuple(asked)
    if files.optional(data, _SPLITS["test"].questions) is None:
        raise BadInput(
            f"{data} holds the questions of test-dev and not those of test, and the server wants "
            f"an answer to each of these; put LLaVA's {_SPLITS['test'].questions[0]} there."
        )
    other, everything = _asked(data, "test")
    if extra := [number for number in asked if number not in everything]:
        raise BadInput(
            f"{path} holds the question {extra[0]}, which is not in {other}; download both again."
        )
    return tuple(everything)


def mark(question: Question, answer: str) -> tuple[float, str]:
    """VQA accuracy of the answer as LLaVA would submit it."""
    return vqa_accuracy.vqav2_mark(question.truth, answer)


def submission(answered: Sequence[tuple[Question, str]]) -> tuple[str, bytes]:
    """What the server takes: an answer to each question of test, empty where none was given."""
    given = {int(question.id): vqa_accuracy.submitted(answer) for question, answer in answered}
    first = answered[0][0] if answered else None
    wanted = first.submitted if isinstance(first, ServerQuestion) else tuple(given)
    entries = [{"question_id": number, "answer": given.get(number, "")} for number in wanted]
    return SUBMISSION, json.dumps(entries).encode()


TASK = Task(
    name="vqav2",
    title="VQAv2",
    metric="VQA accuracy",
    data=(
        f"v2_OpenEnded_mscoco_val2014_questions.json, {_ANNOTATIONS} and val2014/; or, for the "
        "server, llava_vqav2_mscoco_test-dev2015.jsonl, llava_vqav2_mscoco_test2015.jsonl and "
        "test2015/"
    ),
    source="github.com/GT-Vision-Lab/VQA; LLaVA, docs/Evaluation.md",
    max_tokens=128,
    read=read,
    mark=mark,
    total=vqa_accuracy.by_answer_type,
    submission=submission,
    published={"val": (214_354,), "test-dev": (107_394,), "test": (447_793,)},
)
