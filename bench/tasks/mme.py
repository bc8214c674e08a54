"""MME, its ten categories of perception: two yes/no questions about each picture."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from imp_deploy.bench.tasks import files, suffixes
from imp_deploy.bench.tasks.task import FilePicture, Loaded, Marked, Question, Task, Totals
from imp_deploy.errors import BadInput

CATEGORIES: Final = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
_ROOTS = (
    "MME_Benchmark_release_version",
    "MME_Benchmark_release_version/MME_Benchmark",
    "MME_Benchmark",
    ".",
)
_ENDINGS = (".jpg", ".jpeg", ".png")
_ASKED_FOR = "Please answer yes or no."


def read(data: Path, split: str | None) -> Loaded:
    """All ten categories, in the order of the authors' table."""
    split = files.split_of(split, ("perception",), files.folder(data))
    root = next(
        (data / name for name in _ROOTS if any((data / name / c).is_dir() for c in CATEGORIES)),
        data,
    )
    lacking = [category for category in CATEGORIES if not (root / category).is_dir()]
    if lacking:
        raise BadInput(
            f"{root} lacks {len(lacking)} of MME's ten folders of perception "
            f"({', '.join(lacking)}); unpack all of them there, or give --data another folder."
        )
    questions: list[Question] = []
    for category in CATEGORIES:
        questions += files.checked(_questions(data, root / category), root / category)
    return Loaded(split, tuple(questions))


def _questions(data: Path, folder: Path) -> Iterator[Question]:
    """Of a category: texts beside the pictures, or pictures and texts in folders of their own."""
    pictures = texts = folder
    if (folder / "images").is_dir():
        pictures, texts = folder / "images", folder / "questions_answers_YN"
    by_stem: dict[str, str] = {}
    for name in _names(pictures):
        if name.lower().endswith(_ENDINGS):
            stem = Path(name).stem
            if stem in by_stem:
                raise BadInput(
                    f"{pictures} holds both {by_stem[stem]} and {name}, and {stem}.txt cannot ask "
                    "about both; remove one."
                )
            by_stem[stem] = name
    for name in _names(texts):
        if name.endswith(".txt"):
            stem = Path(name).stem
            if stem not in by_stem:
                raise BadInput(
                    f"{texts / name} asks about a picture {stem}, which is not in {pictures}; put "
                    "it there."
                )
            path = pictures / by_stem[stem]
            picture = FilePicture(path.relative_to(data).as_posix(), path)
            yield from _pair(folder.name, texts / name, picture)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be read ({error.strerror}); unpack MME there again."
        ) from None


def _pair(category: str, path: Path, picture: FilePicture) -> Iterator[Question]:
    lines = [line.strip() for line in files.text(path).split("\n") if line.strip()]
    if len(lines) != 2:
        raise BadInput(
            f"{path} holds {len(lines)} questions instead of two; unpack MME there again."
        )
    for number, line in enumerate(lines, start=1):
        question, tab, answer = line.partition("\t")
        truth = answer.strip().lower()
        if not tab or truth not in ("yes", "no"):
            raise BadInput(
                f"{path}, line {number} is no question, tab, and Yes or No; unpack MME there again."
            )
        group = f"{category}/{path.stem}"
        yield Question(
            id=f"{group}#{number}",
            # LLaVA's question file has its own suffix in the place of the authors'.
            text=suffixes.with_suffix(question.replace(_ASKED_FOR, "").strip(), suffixes.SHORT),
            picture=picture,
            truth=truth,
            stratum=category,
            group=group,
        )


def mark(question: Question, answer: str) -> tuple[float, str]:
    """As in the authors' eval_tool/calculation.py: yes or no is what the first four characters
    contain, whatever the case, and yes comes first; all else is wrong."""
    start = answer.lower()[:4]
    said = next((word for word in ("yes", "no") if word in start), "other")
    return float(said == question.truth), said


def total(marked: Sequence[Marked]) -> Totals:
    """The sum over the categories of accuracy and accuracy+ (the share of pictures with both
    questions right), both in percent. For a sample that has lost whole categories: ten times the
    mean of the others."""
    groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for answer in marked:
        groups[answer.question.stratum][answer.question.group].append(answer.mark)
    parts: dict[str, float] = {}
    for category in CATEGORIES:
        if category in groups:
            pairs = list(groups[category].values())
            count = sum(len(pair) for pair in pairs)
            accuracy = sum(sum(pair) for pair in pairs) / count
            # Every picture has two questions: their share is that of the pictures, and stays so
            # in a resample in which a picture comes more than once.
            both = sum(len(pair) for pair in pairs if all(pair)) / count
            parts[category] = 100 * accuracy + 100 * both
    return Totals(sum(parts.values()) * len(CATEGORIES) / len(parts), parts)


TASK = Task(
    name="mme",
    title="MME perception",
    metric="accuracy and accuracy+ of ten categories",
    data="MME_Benchmark_release_version/ with MME's ten folders of perception",
    source="MME, eval_tool/calculation.py, with the prompts of LLaVA's llava_mme.jsonl",
    max_tokens=128,
    read=read,
    mark=mark,
    total=total,
    most=2000.0,
    published={"perception": (2_114,)},
)
