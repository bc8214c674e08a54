"""TextVQA (version 0.5.1, val): questions that need text in the picture to be read.

Split val asks the question alone. Split val-ocr asks what LLaVA's llava_textvqa_val_v051_ocr.jsonl
holds, which adds a line with what a separate program read: LLaVA-1.5's own figures are with it.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from imp_deploy.bench.tasks import files, vqa_accuracy
from imp_deploy.bench.tasks.suffixes import SHORT, with_suffix
from imp_deploy.bench.tasks.task import Loaded, Question, Task
from imp_deploy.errors import BadInput

_ANNOTATIONS: Final = "TextVQA_0.5.1_val.json"
_OCR: Final = "llava_textvqa_val_v051_ocr.jsonl"
_IMAGES: Final = ("train_images", "train_val_images/train_images")


def read(data: Path, split: str | None) -> Loaded:
    """val unless val-ocr is asked for. Both have the authors' question ids, and the same truth."""
    files.folder(data)
    there = ("val",) if files.optional(data, (_ANNOTATIONS, _OCR)) else ()
    split = files.chosen_split(data, split, there, ("val", "val-ocr"), _ANNOTATIONS)
    path = files.first(data, (_ANNOTATIONS,), "questions with answers")
    entries = _entries(path)
    texts = {} if split == "val" else _texts(data, path, entries)
    find = files.pictures(data, _IMAGES)
    questions = []
    for number, entry in entries.items():
        where = f"{path}, question {number}"
        # LLaVA's file writes the questions so: a capital first, all others small.
        text = texts[number] if texts else entry["question"].capitalize()
        questions.append(
            Question(
                id=str(number),
                text=with_suffix(text, SHORT),
                picture=find(f"{entry['image_id']}.jpg", where),
                truth=files.ten_texts(files.value(entry, "answers", list, where), where),
            )
        )
    return Loaded(split, tuple(questions))


def _entries(path: Path) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for entry in files.part(files.document(path), "data", str(path)):
        number = files.value(entry, "question_id", int, str(path))
        where = f"{path}, question {number}"
        if number in found:
            raise BadInput(f"{path} holds the question {number} twice; download it again.")
        if files.value(entry, "set_name", str, where) != "val":
            raise BadInput(f"{where} is of the split {entry['set_name']}; download it again.")
        for key in ("question", "image_id"):
            files.value(entry, key, str, where)
        found[number] = entry
    if not found:
        raise BadInput(f"{path} holds no question; download it again.")
    return found


def _texts(data: Path, path: Path, entries: dict[int, dict[str, Any]]) -> dict[int, str]:
    """LLaVA's texts by question id. Its file names image and question only, as does its scoring
    (llava/eval/eval_textvqa.py); of questions asked twice about an image the first is the first."""
    ocr = files.first(data, (_OCR,), "questions with OCR tokens")
    lines: dict[str, list[str]] = defaultdict(list)
    for entry in files.objects(ocr):
        image = files.value(entry, "question_id", str, str(ocr))
        text: str = files.value(entry, "text", str, f"{ocr}, {image}")
        question, *rest = text.split("\n")
        if len(rest) != 2 or not rest[0].startswith("Reference OCR token:"):
            raise BadInput(f"{ocr}, {image} has no line with OCR tokens; download it again.")
        lines[f"{image}: {question.lower()}"].append(text)
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, entry in entries.items():
        numbers[f"{entry['image_id']}: {entry['question'].lower()}"].append(number)
    files.same_ids(ocr, lines, path, numbers)
    texts: dict[int, str] = {}
    for key, found in numbers.items():
        if len(found) != len(lines[key]):
            raise BadInput(
                f"{ocr} holds the question {key!r} {len(lines[key])} times and {path} "
                f"{len(found)} times; download both again."
            )
        texts.update(zip(found, lines[key], strict=True))
    return texts


def mark(question: Question, answer: str) -> tuple[float, str]:
    """VQA accuracy after EvalAI's normalisation of all answers."""
    return vqa_accuracy.textvqa_mark(question.truth, answer)


TASK = Task(
    name="textvqa",
    title="TextVQA",
    metric="VQA accuracy",
    data=f"{_ANNOTATIONS} and train_images/ (and {_OCR} for --split val-ocr)",
    source="textvqa.org; LLaVA, llava/eval/eval_textvqa.py",
    max_tokens=128,
    read=read,
    mark=mark,
    published={"val": (5_000,), "val-ocr": (5_000,)},
)
