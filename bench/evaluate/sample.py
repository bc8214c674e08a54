"""Draws questions from a benchmark, evenly over its strata, the same ones for the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from imp_deploy.bench.tasks.task import Question


def sample(questions: Sequence[Question], limit: int, seed: int) -> tuple[Question, ...]:
    """At most `limit` of `questions`, in their order. Each stratum gets its share, to within a
    unit or two; a unit is a question, or a group of them, which stays whole. With the same seed a
    larger sample of a stratum holds every smaller one, and nothing depends on Python's random
    numbers."""
    if limit >= len(questions):
        return tuple(questions)
    units: dict[str, list[Question]] = {}
    for question in questions:
        key = f"group {question.group}" if question.group else f"question {question.id}"
        units.setdefault(key, []).append(question)
    strata: dict[str, list[str]] = {}
    for key in sorted(units, key=lambda key: _place(seed, key)):
        strata.setdefault(units[key][0].stratum, []).append(key)
    sizes = {name: sum(len(units[key]) for key in keys) for name, keys in strata.items()}
    taken = dict.fromkeys(strata, 0)
    chosen: set[str] = set()
    count = 0
    while strata:
        # The stratum that is furthest below its share of one more question.
        share = (count + 1) / len(questions)
        name = max(strata, key=lambda name: (share * sizes[name] - taken[name], name))
        key = strata[name].pop(0)
        if not strata[name]:
            del strata[name]
        if count + len(units[key]) > limit:
            break
        count += len(units[key])
        taken[name] += len(units[key])
        chosen.update(question.id for question in units[key])
    return tuple(question for question in questions if question.id in chosen)


def _place(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed} {key}".encode()).digest()
