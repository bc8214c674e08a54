"""The rows of a check: what was compared, the evidence, and the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from imp_deploy.bench.check.figures import Kind

Answer = Literal["regressed", "incomparable", "inconclusive", "improved", "ok"]
ANSWERS: tuple[Answer, ...] = ("regressed", "incomparable", "inconclusive", "improved", "ok")

ALPHA = 0.01  # a p value below it is evidence of a change
_ROUNDING = 1e-9  # 5 of 500 questions are one point, whatever floats make of it


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The changes that count. `growth`: of a file, in percent. `drop`: of the mean mark, in points;
    a drop of twice as much has to be ruled out. `slowdown`: in percent."""

    growth: float = 0.5
    drop: float = 1.0
    slowdown: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """`n`: questions, or samples of the candidate; `n_baseline`: samples of the baseline. `up` and
    `down`: questions whose mark rose and fell. `p`: two-sided. `low` and `high`: bounds of the
    change, in its unit, each of them with 95 % confidence. `score`, `score_baseline`: the task's
    own, of `score_most`."""

    n: int | None = None
    n_baseline: int | None = None
    up: int | None = None
    down: int | None = None
    p: float | None = None
    low: float | None = None
    high: float | None = None
    score_baseline: float | None = None
    score: float | None = None
    score_most: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """`unit`: of `baseline` and `candidate`: "bytes", "%", "nats", "s", "tok/s" or "" (a ratio or a
    cosine). `change_unit`: "%" (of the baseline), "points" (of percentages), "nats" or "".
    `reason`: a sentence."""

    kind: Kind
    subject: str
    metric: str
    unit: str
    baseline: float | None
    candidate: float | None
    change: float | None
    change_unit: str
    answer: Answer
    reason: str
    evidence: Evidence = field(default_factory=Evidence)


def incomparable(
    kind: Kind,
    subject: str,
    metric: str,
    reason: str,
    *,
    baseline: float | None = None,
    candidate: float | None = None,
    unit: str = "",
) -> Row:
    return Row(
        kind=kind,
        subject=subject,
        metric=metric,
        unit=unit,
        baseline=baseline,
        candidate=candidate,
        change=None,
        change_unit="",
        answer="incomparable",
        reason=reason,
    )


def decide(
    *, worse: float, most: float | None, p: float, minimum: float, margin: float
) -> Literal["regressed", "improved", "ok", "inconclusive"]:
    """The answer on a change for the worse by `worse`, which is at most `most` with 95 % confidence
    (None: anything). A change counts if it is significant and at least `minimum`; nothing is wrong
    if a change for the worse by `margin` is ruled out; otherwise the samples are too few."""
    if p < ALPHA and worse >= minimum - _ROUNDING:
        return "regressed"
    if p < ALPHA and -worse >= minimum - _ROUNDING:
        return "improved"
    return "ok" if most is not None and most < margin else "inconclusive"


def ordered(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The worst first; of the same answer in the order in which they came."""
    return tuple(sorted(rows, key=lambda row: ANSWERS.index(row.answer)))


def counts(rows: Sequence[Row]) -> dict[Answer, int]:
    """Per answer, those that there are, the worst first."""
    found = Counter(row.answer for row in rows)
    return {answer: found[answer] for answer in ANSWERS if found[answer]}


def verdict(rows: Sequence[Row]) -> Literal["ok", "regressed", "undecided"]:
    """What all rows together say; improvements are as good as ok."""
    found = counts(rows)
    if "regressed" in found:
        return "regressed"
    return "undecided" if {"incomparable", "inconclusive"} & set(found) else "ok"
