"""Which of a benchmark's questions are asked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.bench.evaluate.sample import sample
from imp_deploy.bench.tasks.task import Question, Task
from imp_deploy.errors import BadInput
from imp_deploy.evaluation import TaskRecord

SEED = 0


@dataclass(frozen=True, kw_only=True)
class Selection:
    """`questions` in the order of the benchmark's files."""

    task: Task
    record: TaskRecord
    questions: tuple[Question, ...]


def select(
    task: Task,
    data: Path | None,
    *,
    split: str | None = None,
    limit: int | None = None,
    seed: int = SEED,
) -> Selection:
    """Reads the benchmark in `data` and draws at most `limit` of its questions (None: all)."""
    if data is not None and not task.needs_data:
        raise BadInput(f"{task.title} needs no files ({task.data}); leave --data out.")
    if data is None and task.needs_data:
        raise BadInput(f"{task.title} needs its files; give --data a folder with {task.data}.")
    loaded = task.read(Path() if data is None else data, split)
    questions = loaded.questions
    if limit is not None:
        questions = sample(questions, limit, seed)
    if not questions:
        raise BadInput(
            f"Of {task.title}, {len(loaded.questions)} questions were read and none is left to "
            "ask; give a larger --limit."
        )
    return Selection(
        task=task,
        record=TaskRecord(
            name=task.name,
            title=task.title,
            split=loaded.split,
            questions=len(loaded.questions),
            asked=len(questions),
            seed=seed if len(questions) < len(loaded.questions) else None,
            sha256=digest(questions),
            warning=_warning(task, loaded.split, len(loaded.questions)),
        ),
        questions=questions,
    )


def _warning(task: Task, split: str, count: int) -> str:
    """Where the benchmark's authors published another number of questions."""
    published = task.published.get(split, ())
    if not published or count in published:
        return ""
    return (
        f"{task.title} ({split}) was published with {' or '.join(map(str, published))} questions "
        f"and {count} were read: a score over these is not the benchmark's."
    )


def digest(questions: tuple[Question, ...]) -> str:
    """Over what is asked, about which pictures, and what is right, in order."""
    pictures: dict[str, str] = {}
    total = hashlib.sha256()
    for question in questions:
        picture = question.picture
        if picture.key not in pictures:
            pictures[picture.key] = picture.digest()
        entry = [question.id, question.text, picture.key, pictures[picture.key], question.truth]
        total.update(json.dumps(entry, sort_keys=True, ensure_ascii=True).encode() + b"\n")
    return total.hexdigest()
