"""Small files in the layouts of the benchmarks' authors, with pictures drawn here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from imp_deploy.bench.tasks.task import Loaded, Marked, Task, Totals


def draw(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (8, 6), (40 * number, 90, 200)).save(folder / name)


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_lines(path: Path, values: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def totals(task: Task, loaded: Loaded, answers: Sequence[str]) -> Totals:
    """The benchmark's figure for these answers to all of its questions."""
    assert task.mark is not None
    marked = [
        Marked(question, answer, *task.mark(question, answer))
        for question, answer in zip(loaded.questions, answers, strict=True)
    ]
    if task.total is None:
        return Totals(100 * sum(one.mark for one in marked) / len(marked))
    return task.total(marked)
