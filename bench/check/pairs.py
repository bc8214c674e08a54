"""Statistics of two sets of marks on the same questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95  # of each end of an interval, so that both together hold 90 %


@dataclass(frozen=True, kw_only=True)
class Paired:
    """`n` questions, of which `up` have a higher mark than before and `down` a lower one. `mean`:
    of the differences, between -1 and 1. `p`: two-sided. `low` and `high`: bounds of the mean, each
    of them with 95 % confidence on its own."""

    n: int
    up: int
    down: int
    mean: float
    p: float
    low: float
    high: float


def compare(before: Sequence[float], after: Sequence[float]) -> Paired:
    """Marks from 0 to 1 of the same questions in the same order. Raises `ValueError` for NaN."""
    differences = [b - a for a, b in zip(before, after, strict=True)]
    if not all(map(math.isfinite, differences)):
        raise ValueError("a mark is no finite number")
    n = len(differences)
    up = sum(d > 0 for d in differences)
    down = sum(d < 0 for d in differences)
    low, high = mean_bounds(differences)
    mean = math.fsum(differences) / n if n else 0.0
    return Paired(n=n, up=up, down=down, mean=mean, p=mcnemar(up, down), low=low, high=high)


def mcnemar(up: int, down: int) -> float:
    """The exact two-sided p value of `up` questions against `down` under the hypothesis that a
    question that changed was as likely to go either way: twice the smaller tail of the binomial
    distribution with probability 1/2, at most 1. 1 where nothing changed.

    Exact form of McNemar's test (Psychometrika 12, 1947); with fractional marks it is the sign
    test. In whole numbers throughout: only the last division rounds."""
    n = up + down
    term = tail = 1  # of n over k, for k from 0
    for k in range(min(up, down)):
        term = term * (n - k) // (k + 1)
        tail += term
    p: float = 2 * tail / 2**n
    return min(1.0, p)


def mean_bounds(differences: Sequence[float]) -> tuple[float, float]:
    """Bounds of the mean of paired differences between -1 and 1, each with 95 % confidence.

    The adjusted Wald interval for matched pairs (Bonett and Price, Journal of Educational and
    Behavioral Statistics 37, 2012: one question more that went up and one that went down), where
    differences between -1 and 1 enter with their value and their square. Unlike the plain interval
    it does not shrink to nothing where few questions changed or none. With 500 questions the lower
    bound holds for 93 to 97 of 100 (computed exactly for drops from 0 to 2.5 points), with more
    for nearer to 95."""
    n = len(differences) + 2
    mean = math.fsum(differences) / n
    spread = math.sqrt((math.fsum(d * d for d in differences) + 2) / n - mean**2)
    reach = NormalDist().inv_cdf(CONFIDENCE) * spread / math.sqrt(n)
    return max(-1.0, mean - reach), min(1.0, mean + reach)
