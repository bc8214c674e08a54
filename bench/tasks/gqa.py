"""GQA (balanced test-dev): compositional questions, made from scene graphs, with one right answer.

Read are the authors' testdev_balanced_questions.json and, where it is there too, LLaVA's
llava_gqa_testdev_balanced.jsonl for order and texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from imp_deploy.bench.tasks import files
from imp_deploy.bench.tasks.suffixes import SHORT, with_suffix
from imp_deploy.bench.tasks.task import Loaded, Marked, Question, Task, Totals
from imp_deploy.bench.tasks.vqa_accuracy import percent
from imp_deploy.errors import BadInput

_SPLIT: Final = "testdev-balanced"
_FOLDERS: Final = ("", "data/", "questions1.2/", "data/questions1.2/")
_QUESTIONS: Final = tuple(f"{folder}testdev_balanced_questions.json" for folder in _FOLDERS)
_LLAVA: Final = ("llava_gqa_testdev_balanced.jsonl",)
_IMAGES: Final = ("images", "data/images")


def read(data: Path, split: str | None) -> Loaded:
    """The only split that is read, testdev-balanced. The stratum is the structural type."""
    files.folder(data)
    there = (_SPLIT,) if files.optional(data, (*_QUESTIONS, *_LLAVA)) else ()
    split = files.chosen_split(data, split, there, (_SPLIT,), _QUESTIONS[0])
    path = files.first(data, _QUESTIONS, "questions with answers")
    entries = files.keyed(path)
    texts = _texts(data, path, entries)
    find = files.pictures(data, _IMAGES)
    return Loaded(
        split,
        files.checked(
            (
                _question(f"{path}, question {number}", number, text, entries[number], find)
                for number, text in texts.items()
            ),
            path,
        ),
    )


def _question(
    where: str, number: str, text: str, entry: dict[str, Any], find: files.Finder
) -> Question:
    return Question(
        id=number,
        text=with_suffix(text, SHORT),
        picture=find(f"{files.value(entry, 'imageId', str, where)}.jpg", where),
        truth=files.value(entry, "answer", str, where),
        stratum=files.value(files.value(entry, "types", dict, where), "structural", str, where),
    )


def _texts(data: Path, path: Path, entries: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The questions by id, in the order in which they are asked."""
    official = {
        number: files.value(entry, "question", str, f"{path}, question {number}")
        for number, entry in entries.items()
    }
    llava = files.optional(data, _LLAVA)
    if llava is None:
        return official
    found: dict[str, str] = {}
    for line in files.objects(llava):
        number = files.value(line, "question_id", str, str(llava))
        if number in found:
            raise BadInput(f"{llava} holds the question {number} twice; download it again.")
        found[number] = files.value(line, "text", str, f"{llava}, question {number}")
        image = files.value(line, "image", str, f"{llava}, question {number}")
        if number in entries and image != f"{entries[number].get('imageId')}.jpg":
            raise BadInput(
                f"{llava}, question {number} is about {image}, and in {path} about "
                f"{entries[number].get('imageId')}; download both again."
            )
    files.same_ids(llava, found, path, official)
    return found


def mark(question: Question, answer: str) -> tuple[float, str]:
    """The one right word or phrase: lower case, and without full stops at the end
    (LLaVA, scripts/convert_gqa_for_eval.py); the authors' eval.py compares for equality."""
    read = answer.rstrip(".").lower()
    return float(read == question.truth), read


def total(marked: Sequence[Marked]) -> Totals:
    """Accuracy in percent, over all and for the two kinds that the authors print: "open" questions
    (structural type query) and "binary" ones (all others)."""
    kinds: dict[str, list[float]] = {"binary": [], "open": []}
    for one in marked:
        kinds["open" if one.question.stratum == "query" else "binary"].append(one.mark)
    return Totals(
        percent([one.mark for one in marked]),
        {kind: percent(marks) for kind, marks in kinds.items() if marks},
    )


TASK = Task(
    name="gqa",
    title="GQA",
    metric="accuracy",
    data="testdev_balanced_questions.json and images/ (also in data/, as LLaVA has them)",
    source="cs.stanford.edu/people/dorarad/gqa; LLaVA, scripts/convert_gqa_for_eval.py",
    max_tokens=128,
    read=read,
    mark=mark,
    total=total,
    published={"testdev-balanced": (12_578,)},
)
