"""Every evaluation of a table with what is needed to repeat it."""

from __future__ import annotations

from imp_deploy.bench.report.accuracy import Answer
from imp_deploy.bench.report.variants import Family

TITLE = "The evaluations"
HEAD = (
    "variant",
    "benchmark",
    "split",
    "asked",
    "seed",
    "most tokens",
    "answered on",
    "runner",
    "begun",
    "further figures",
)


def lines(family: Family) -> tuple[tuple[str, ...], ...]:
    """Columns as `HEAD`; none without evaluations."""
    return tuple(_line(row.name, answer) for row in family.rows for answer in row.answers)


def _line(name: str, answer: Answer) -> tuple[str, ...]:
    held = answer.evaluation
    parts = answer.score.parts if answer.score else {}
    return (
        name,
        held.task.title,
        held.task.split,
        f"{held.task.asked} of {held.task.questions}",
        "none" if held.task.seed is None else str(held.task.seed),
        str(held.protocol.max_tokens),
        answer.place,
        held.runner.target,
        answer.date,
        ", ".join(f"{key} {value:.6g}" for key, value in parts.items()) or "none",
    )
