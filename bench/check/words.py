"""The figures of a row, for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from imp_deploy.bench.check.rows import Answer, Row, counts, verdict
from imp_deploy.bench.report import figures

NONE = "–"
_HEADLINES = {
    "ok": "No regression",
    "regressed": "Regression",
    "undecided": "Not decided",
}


def value(row: Row, number: float | None) -> str:
    """One of the row's two values, with its unit."""
    if number is None:
        return NONE
    if row.unit == "bytes":
        return figures.size(int(number))
    if row.unit == "%":
        return f"{number:.2f} %"
    if row.unit in ("s", "tok/s"):
        return f"{_digits(number)} {row.unit}"
    return _digits(number) if row.unit == "nats" else f"{number:.5f}"


def change(row: Row) -> str:
    if row.change is None:
        return NONE
    if row.change == 0:
        return "0"
    if row.change_unit in ("%", "points"):
        decimals = 2 if abs(row.change) >= 0.005 else 4
        unit = "%" if row.change_unit == "%" else "pt"
        return f"{row.change:+.{decimals}f} {unit}"
    return f"{row.change:+.2g}"


def evidence(row: Row) -> str:
    """`p` as short as it can be read; nothing where no statistics were needed."""
    p = row.evidence.p
    if p is None:
        return ""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}" if p < 0.995 else "p = 1"


def interval(row: Row) -> str:
    low, high = row.evidence.low, row.evidence.high
    return "" if low is None or high is None else f"{low:+.2g} … {high:+.2g}"


def tally(rows: Sequence[Row]) -> str:
    """`1 regressed, 12 ok`."""
    return ", ".join(f"{count} {answer}" for answer, count in counts(rows).items())


def headline(rows: Sequence[Row]) -> str:
    return f"{_HEADLINES[verdict(rows)]}: {tally(rows)}"


def name(row: Row) -> str:
    return f"{row.subject}, {row.metric}"


def told(rows: Sequence[Row]) -> list[tuple[Answer, str, str]]:
    """Answer, name and reason of the rows that are not just ok; rows of the same subject for the
    same reason are told once."""
    found: dict[tuple[Answer, str, str], list[str]] = {}
    for row in rows:
        if row.answer != "ok":
            found.setdefault((row.answer, row.subject, row.reason), []).append(row.metric)
    return [
        (answer, f"{subject}, {', '.join(metrics)}", reason)
        for (answer, subject, reason), metrics in found.items()
    ]


def _digits(number: float) -> str:
    """Four significant digits, and all of those before the point."""
    if number == 0:
        return "0"
    return f"{number:.{max(0, min(7, 3 - math.floor(math.log10(abs(number)))))}f}"
