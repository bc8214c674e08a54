"""What is said of a row of times: never one of them alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figures:
    """`quarter` and `three_quarters` bound the middle half (inclusive method: of few runs too)."""

    median: float
    low: float
    high: float
    quarter: float
    three_quarters: float
    runs: int


def figures(values: Sequence[float]) -> Figures:
    """Median and spread of at least one value."""
    if len(values) > 1:
        quarter, _, three_quarters = statistics.quantiles(values, n=4, method="inclusive")
    else:
        quarter = three_quarters = values[0]
    return Figures(
        median=statistics.median(values),
        low=min(values),
        high=max(values),
        quarter=quarter,
        three_quarters=three_quarters,
        runs=len(values),
    )


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Ratio of the medians."""
    return statistics.median(ours) / statistics.median(theirs)
