"""The paired bootstrap over questions, for the figures of intrinsic quality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imp_deploy.bench.check.pairs import CONFIDENCE

Floats = NDArray[np.float64]

RESAMPLES = 4000  # so that 20 of them lie beyond each of the bounds at p = 0.01
FEWEST = 20  # with fewer questions, resampling them says too little about others
METRICS = ("mean_kl", "p99_kl", "top1_agreement", "perplexity_ratio", "mean_cosine")
_SEED = 20240520  # any; the same input gives the same output
_AT_ONCE = 4_000_000  # numbers in one array


@dataclass(frozen=True)
class Columns:
    """The values of one variant: `kl`, `agree` and `lost` (the reference's log-probability minus
    the variant's) per position, `question` the number of the question that a position belongs to,
    and `cosine` per question."""

    kl: Floats
    agree: Floats
    lost: Floats
    question: NDArray[np.int64]
    cosine: Floats


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of the second figure from the first (of the perplexity ratio: relative). `p`: two-sided;
    `low` and `high`: bounds, each of them with 95 % confidence on its own."""

    p: float
    low: float
    high: float


def compare(before: Columns, after: Columns) -> dict[str, Difference]:
    """By metric, for the same questions in the same order.

    Both variants are figured on the same resamples of the questions, drawn with replacement; the
    bounds are percentiles of the differences (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13), and p is the smallest level at which such an interval leaves out
    0. Positions of one question stay together."""
    drawn: dict[str, list[Floats]] = {metric: [] for metric in METRICS}
    for weights in _resamples(before, after):
        old, new = _figures(before, weights), _figures(after, weights)
        for metric in METRICS:
            ratio = metric == "perplexity_ratio"
            drawn[metric].append(
                new[metric] / old[metric] - 1 if ratio else new[metric] - old[metric]
            )
    return {metric: _difference(np.concatenate(parts)) for metric, parts in drawn.items()}


def _resamples(before: Columns, after: Columns) -> Iterator[Floats]:
    """How often each question was drawn: a row per resample."""
    questions = len(before.cosine)
    if questions == 0 or questions != len(after.cosine):
        raise ValueError("not the same questions, or none")
    for columns in (before, after):
        if not all(np.isfinite(c).all() for c in (columns.kl, columns.lost, columns.cosine)):
            raise ValueError("a value is no finite number")
    random = np.random.Generator(np.random.PCG64(_SEED))
    wide = max(questions, len(before.kl), len(after.kl))
    left = RESAMPLES
    while left:
        count = min(left, max(1, _AT_ONCE // wide))
        picks = random.integers(questions, size=(count, questions))
        picks += questions * np.arange(count)[:, None]
        counts = np.bincount(picks.ravel(), minlength=count * questions)
        yield counts.reshape(count, questions).astype(np.float64)
        left -= count


def _figures(columns: Columns, weights: Floats) -> dict[str, Floats]:
    questions = weights.shape[1]

    def summed(values: Floats) -> Floats:
        sums: Floats = weights @ np.bincount(columns.question, values, questions)
        return sums

    positions = summed(np.ones_like(columns.kl))
    cosine: Floats = weights @ columns.cosine / questions
    return {
        "mean_kl": summed(columns.kl) / positions,
        "p99_kl": _percentile(columns, weights, positions),
        "top1_agreement": summed(columns.agree) / positions,
        "perplexity_ratio": np.exp(summed(columns.lost) / positions),
        "mean_cosine": cosine,
    }


def _percentile(columns: Columns, weights: Floats, positions: Floats) -> Floats:
    """The 99th percentile of the drawn positions' divergence, as `imp_deploy.quality` has it."""
    order = np.argsort(columns.kl, kind="stable")
    values = columns.kl[order]
    reached = np.cumsum(weights[:, columns.question[order]], axis=1)
    place = 0.99 * (positions - 1)
    low = np.floor(place)
    high = np.minimum(low + 1, positions - 1)
    at_low = values[(reached <= low[:, None]).sum(axis=1)]
    at_high = values[(reached <= high[:, None]).sum(axis=1)]
    found: Floats = at_low + (at_high - at_low) * (place - low)
    return found


def _difference(drawn: Floats) -> Difference:
    # One more on both sides: a p value of 0 is no outcome of a finite number of resamples.
    below, above = int((drawn <= 0).sum()), int((drawn >= 0).sum())
    p = min(1.0, 2 * (min(below, above) + 1) / (len(drawn) + 1))
    low, high = np.quantile(drawn, (1 - CONFIDENCE, CONFIDENCE))
    return Difference(p=p, low=float(low), high=float(high))


def columns(
    kl: Sequence[Sequence[float]],
    agree: Sequence[Sequence[bool]],
    lost: Sequence[Sequence[float]],
    cosine: Sequence[float],
) -> Columns:
    """From values per question."""

    def flat(values: Sequence[Sequence[float]]) -> Floats:
        return np.array([v for row in values for v in row], np.float64)

    owners = np.repeat(np.arange(len(kl)), [len(row) for row in kl])
    return Columns(flat(kl), flat(agree), flat(lost), owners, np.array(cosine, np.float64))
