"""How far an evaluation that is not complete has come."""

from __future__ import annotations

import json
from pathlib import Path

from imp_deploy.evaluation import Evaluation, answers_path


def answered(path: Path, evaluation: Evaluation) -> int | None:
    """How many of the questions asked have an answer, by the answers beside `path`; None where
    that file cannot be read. Lines that are no answers, such as one that is just being written, do
    not count."""
    task = evaluation.task
    if evaluation.complete:
        return task.asked
    try:
        lines = answers_path(path).read_bytes().splitlines()
    except OSError:
        return len(evaluation.marks) or None
    ids = {found for line in lines if (found := _id(line)) is not None}
    return min(len(ids), task.asked)


def _id(line: bytes) -> str | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None
