"""Compares the bytes of two files."""

from __future__ import annotations

from imp_deploy.bench.check.figures import Size
from imp_deploy.bench.check.rows import Answer, Limits, Row


def compare(before: Size, after: Size, limits: Limits) -> tuple[Row, ...]:
    change = (after.bytes - before.bytes) * 100 / before.bytes
    answer: Answer = "ok"
    if change > limits.growth:
        answer = "regressed"
    elif change < -limits.growth:
        answer = "improved"
    grown = after.bytes - before.bytes
    told = f"{grown:+,d} bytes" if grown else "The same number of bytes"
    return (
        Row(
            kind="size",
            subject=after.subject,
            metric="size",
            unit="bytes",
            baseline=before.bytes,
            candidate=after.bytes,
            change=change,
            change_unit="%",
            answer=answer,
            reason=f"{told}; a change of more than {limits.growth:g} % counts.",
        ),
    )
