"""Statistics of two sets of samples, without an assumption about their distribution."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imp_deploy.bench.check.pairs import CONFIDENCE

# The number of ways to choose from so many fits 64 bits.
MOST_EXACT = 60


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How the second of two sets of positive samples lies to the first. `ratio`: the
    Hodges-Lehmann estimate of second over first; `low` and `high`: its bounds, each of them with
    95 % confidence on its own, None where there are too few samples for any. `p`: two-sided, of
    the Mann-Whitney test."""

    p: float
    ratio: float
    low: float | None
    high: float | None


def compare(before: Sequence[float], after: Sequence[float]) -> Shift:
    """Both sets with at least one sample, all of them finite and above 0, else `ValueError`."""
    p = mann_whitney(before, after)
    if min(*before, *after, math.inf) <= 0:
        raise ValueError("a sample is not above 0")
    ratios = sorted(b / a for a in before for b in after)
    k = _outer(len(before), len(after))
    return Shift(
        p=p,
        ratio=statistics.median(ratios),
        low=ratios[k - 1] if k else None,
        high=ratios[-k] if k else None,
    )


def mann_whitney(before: Sequence[float], after: Sequence[float]) -> float:
    """The two-sided p value of the Mann-Whitney U test (Annals of Mathematical Statistics 18,
    1947): twice the smaller tail, at most 1.

    Exact, from the distribution of the rank sum over all ways to divide these very samples, ties
    with their mean rank, up to 60 samples in all; beyond by the normal distribution with the
    corrections for ties and continuity."""
    if not before or not after:
        raise ValueError("a set of samples is empty")
    together = [*before, *after]
    if not all(map(math.isfinite, together)):
        raise ValueError("a sample is no finite number")
    ranks = doubled_ranks(together)
    if len(ranks) <= MOST_EXACT:
        counts = rank_sums(ranks, len(before))
        place = sum(ranks[: len(before)])
        tail = min(int(counts[: place + 1].sum()), int(counts[place:].sum()))
        return min(1.0, 2 * tail / math.comb(len(ranks), len(before)))
    return _approximate(together, ranks, len(before))


def doubled_ranks(values: Sequence[float]) -> list[int]:
    """Twice the rank of each value, from 2; equal values share their mean rank."""
    counts = Counter(values)
    ranks, below = {}, 0
    for value in sorted(counts):
        ranks[value] = 2 * below + counts[value] + 1
        below += counts[value]
    return [ranks[value] for value in values]


def rank_sums(ranks: Sequence[int], size: int) -> NDArray[np.int64]:
    """How many of the ways to choose `size` of `ranks` have each sum, by the sum."""
    ways = np.zeros((size + 1, sum(ranks) + 1), np.int64)
    ways[0, 0] = 1
    for rank in ranks:
        # The right side is built before the left one changes: each rank is chosen at most once.
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    sums: NDArray[np.int64] = ways[size]
    return sums


def _approximate(together: Sequence[float], ranks: Sequence[int], m: int) -> float:
    total = len(together)
    n = total - m
    u = sum(ranks[:m]) / 2 - m * (m + 1) / 2
    ties = sum(t**3 - t for t in Counter(together).values())
    variance = m * n / 12 * ((total + 1) - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    z = (abs(u - m * n / 2) - 0.5) / math.sqrt(variance)
    return min(1.0, math.erfc(z / math.sqrt(2)))


def _outer(m: int, n: int) -> int:
    """The place, counted from both ends, of the ratios that bound the shift; 0 where even the
    outermost do not bound it with the confidence asked for (Hollander and Wolfe, Nonparametric
    Statistical Methods, 4.3)."""
    share = 1 - CONFIDENCE
    if m + n <= MOST_EXACT:
        ranks = range(2, 2 * (m + n) + 1, 2)
        lowest = m * (m + 1)
        counts = rank_sums(ranks, m)[lowest::2]
        most = share * math.comb(m + n, m) * (1 + 1e-9)  # exactly 1 in 20 is enough
        return int(np.searchsorted(np.cumsum(counts), most))
    z = statistics.NormalDist().inv_cdf(CONFIDENCE)
    return max(0, math.floor(m * n / 2 - z * math.sqrt(m * n * (m + n + 1) / 12)))
