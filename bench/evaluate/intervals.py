"""How sure a score is: 95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from imp_deploy.bench.tasks.task import Marked

_Z = 1.959963984540054  # of the normal distribution, two-sided 95 %
_RESAMPLES = 1000
_FEWEST = 5  # units of a stratum
_SEED = 20240512


def wilson(mean: float, count: int) -> tuple[float, float]:
    """The score interval of a share of `count` questions (E. B. Wilson, JASA 22, 1927), which stays
    within [0, 1] and is right for few questions and for shares near the ends. For marks between 0
    and 1, whose variance is at most that of a share with their mean, it is wider than need be."""
    if count == 0:
        raise ValueError("there is no interval without questions")
    square = _Z * _Z / count
    centre = (mean + square / 2) / (1 + square)
    half = _Z * math.sqrt(mean * (1 - mean) / count + square / count / 4) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(
    marked: Sequence[Marked], value: Callable[[Sequence[Marked]], float]
) -> tuple[float, float]:
    """The percentile interval of `value` over 1000 resamples of the questions, or of their groups,
    within each stratum (all together, where a stratum has too few to draw from); always the same
    for the same answers. `value` may be the same for all of them, whatever the true one is."""
    strata = _units(marked)
    if min(len(units) for units in strata) < _FEWEST:
        strata = [[unit for units in strata for unit in units]]
    rng = np.random.default_rng(_SEED)
    values = []
    for _ in range(_RESAMPLES):
        drawn: list[Marked] = []
        for units in strata:
            for place in rng.integers(len(units), size=len(units)).tolist():
                drawn += units[place]
        values.append(value(drawn))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def count_units(marked: Sequence[Marked]) -> int:
    """Questions on their own and groups."""
    return sum(len(units) for units in _units(marked))


def _units(marked: Sequence[Marked]) -> list[list[list[Marked]]]:
    strata: dict[str, dict[str, list[Marked]]] = {}
    for one in marked:
        question = one.question
        key = f"group {question.group}" if question.group else f"question {question.id}"
        strata.setdefault(question.stratum, {}).setdefault(key, []).append(one)
    return [list(units.values()) for units in strata.values()]
