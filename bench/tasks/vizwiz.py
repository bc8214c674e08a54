"""VizWiz: questions that blind people asked about their photographs.

Read are the authors' val.json (with the answers of ten people) and test.json (vizwiz.org), and
LLaVA's llava_test.jsonl. A server marks the test split.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from imp_deploy.bench.tasks import files, vqa_accuracy
from imp_deploy.bench.tasks.suffixes import VIZWIZ, with_suffix
from imp_deploy.bench.tasks.task import Loaded, Question, Task
from imp_deploy.errors import BadInput

SUBMISSION: Final = "vizwiz-submission.json"

_ANNOTATIONS: Final = {
    split: (f"{split}.json", f"Annotations/{split}.json") for split in ("val", "test")
}
_LLAVA: Final = ("llava_test.jsonl",)


def read(data: Path, split: str | None) -> Loaded:
    """One of val (with answers) and test (without). The id of a question is its image's name: each
    image has one question."""
    files.folder(data)
    there = [name for name, paths in _ANNOTATIONS.items() if files.optional(data, paths)]
    if "test" not in there and files.optional(data, _LLAVA):
        there.append("test")
    looked_for = "val.json, test.json, llava_test.jsonl"
    split = files.chosen_split(data, split, there, tuple(_ANNOTATIONS), looked_for)
    find = files.pictures(data, (split, f"{split}/{split}", f"images/{split}", "images"))
    if split == "val":
        path = files.first(data, _ANNOTATIONS[split], "questions of val")
        entries = _by_image(path, split)
        return Loaded(
            split,
            files.checked(
                (
                    Question(
                        id=image,
                        text=with_suffix(_question(path, image, entry), VIZWIZ),
                        picture=find(image, str(path)),
                        truth=_answers(path, image, entry),
                        stratum=files.value(entry, "answer_type", str, f"{path}, {image}"),
                    )
                    for image, entry in entries.items()
                ),
                path,
            ),
        )
    path, texts = _test_texts(data)
    return Loaded(
        split,
        files.checked(
            (
                Question(image, with_suffix(text, VIZWIZ), find(image, str(path)), None)
                for image, text in texts.items()
            ),
            path,
        ),
    )


def _test_texts(data: Path) -> tuple[Path, dict[str, str]]:
    """The questions by image; LLaVA's own texts where they are there."""
    official = files.optional(data, _ANNOTATIONS["test"])
    llava = files.optional(data, _LLAVA)
    path = files.first(data, (*_LLAVA, *_ANNOTATIONS["test"]), "questions of test")
    if official is not None:
        texts = {i: _question(official, i, e) for i, e in _by_image(official, "test").items()}
        if llava is None:
            return path, texts
    entries = _by_image(path, "test")
    if official is not None:
        files.same_ids(path, entries, official, texts)
    return path, {
        image: files.value(entry, "text", str, f"{path}, {image}")
        for image, entry in entries.items()
    }


def _by_image(path: Path, split: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in files.objects(path):
        image = files.value(entry, "image", str, str(path))
        if not image.startswith(f"VizWiz_{split}_"):
            raise BadInput(
                f"{path} asks about the image {image}, which is not of the split {split}; download "
                "the file of that name again."
            )
        if image in found:
            raise BadInput(f"{path} holds a question about {image} twice; download it again.")
        found[image] = entry
    return found


def _question(path: Path, image: str, entry: dict[str, Any]) -> str:
    """The authors' text as LLaVA's file writes it: a capital first, all others small."""
    text: str = files.value(entry, "question", str, f"{path}, {image}")
    return text.capitalize()


def _answers(path: Path, image: str, entry: dict[str, Any]) -> list[str]:
    where = f"{path}, {image}"
    if files.value(entry, "answerable", int, where) not in (0, 1):
        raise BadInput(f"{where} has no usable `answerable`; download it again.")
    return files.ten_answers(entry, where)


def mark(question: Question, answer: str) -> tuple[float, str]:
    """VQA accuracy of the answer as LLaVA would submit it."""
    return vqa_accuracy.vizwiz_mark(question.truth, answer)


def submission(answered: Sequence[tuple[Question, str]]) -> tuple[str, bytes]:
    """What the server takes: an answer per image (scripts/convert_vizwiz_for_submission.py)."""
    entries = [
        {"image": question.id, "answer": vqa_accuracy.submitted(answer)}
        for question, answer in answered
    ]
    return SUBMISSION, json.dumps(entries).encode()


TASK = Task(
    name="vizwiz",
    title="VizWiz",
    metric="VQA accuracy",
    data="val.json and val/; or, for the server, test.json or llava_test.jsonl, and test/",
    source="vizwiz.org, task VQA; LLaVA, docs/Evaluation.md",
    max_tokens=128,
    read=read,
    mark=mark,
    total=vqa_accuracy.by_answer_type,
    submission=submission,
    published={"val": (4_319,), "test": (8_000,)},
)
