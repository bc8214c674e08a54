"""Bounds and p values of the change of a figure of intrinsic quality: the paired bootstrap and the
paired permutation test, both over questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imp_deploy.bench.check.pairs import CONFIDENCE

Floats = NDArray[np.float64]

RESAMPLES = 4000  # so that a p value of 0.01 stands on 40 of them
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
    """Of the second figure from the first (of the perplexity ratio: of its logarithm). `p`:
    two-sided; `low` and `high`: bounds, each of them with 95 % confidence on its own."""

    p: float
    low: float
    high: float


def compare(before: Columns, after: Columns) -> dict[str, Difference]:
    """By metric, for the same questions in the same order; positions of one question stay together.

    Bounds: percentiles of the differences between both variants on the same resamples of the
    questions, drawn with replacement (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13). p: how often the difference is as large when each question's two results are
    exchanged by the toss of a coin, the tosses that were made counted as one more (Noreen,
    Computer-Intensive Methods for Testing Hypotheses, 1989). The bootstrap's own p value is too
    small where few questions differ: six tokens that all got worse are 1 in 32, not 1 in 200."""
    both = _joined(before, after)
    once = np.ones((1, len(before.cosine)))
    seen = {m: values[0] for m, values in _changes(both, once, 0 * once).items()}
    random = np.random.Generator(np.random.PCG64(_SEED))
    as_large = dict.fromkeys(METRICS, 1)
    drawn: dict[str, list[Floats]] = {metric: [] for metric in METRICS}
    for count in _portions(len(both.kl)):
        tosses = random.integers(2, size=(count, once.size)).astype(np.float64)
        for metric, values in _changes(both, tosses, 1 - tosses).items():
            reached = abs(seen[metric]) * (1 - 1e-9)  # rounding must not break a tie
            as_large[metric] += int((np.abs(values) >= reached).sum())
        picks = random.integers(once.size, size=(count, once.size))
        picks += once.size * np.arange(count)[:, None]
        counts = np.bincount(picks.ravel(), minlength=count * once.size)
        weights = counts.reshape(count, once.size).astype(np.float64)
        for metric, values in _changes(both, weights, 0 * weights).items():
            drawn[metric].append(values)
    return {
        metric: _difference(np.concatenate(drawn[metric]), as_large[metric]) for metric in METRICS
    }


def _joined(before: Columns, after: Columns) -> Columns:
    """The questions of one after those of the other."""
    questions = len(before.cosine)
    if questions == 0 or questions != len(after.cosine):
        raise ValueError("not the same questions, or none")
    both = Columns(
        kl=np.concatenate([before.kl, after.kl]),
        agree=np.concatenate([before.agree, after.agree]),
        lost=np.concatenate([before.lost, after.lost]),
        question=np.concatenate([before.question, after.question + questions]),
        cosine=np.concatenate([before.cosine, after.cosine]),
    )
    if not all(np.isfinite(c).all() for c in (both.kl, both.lost, both.cosine)):
        raise ValueError("a value is no finite number")
    return both


def _portions(wide: int) -> Iterator[int]:
    """All the resamples, in portions that fit the memory."""
    left = RESAMPLES
    while left:
        count = min(left, max(1, _AT_ONCE // wide))
        yield count
        left -= count


def _changes(both: Columns, own: Floats, other: Floats) -> dict[str, Floats]:
    """By how much the figures of the second variant are above those of the first: a row of `own`
    says how often each question counts with its own variant's result, a row of `other` how often
    with that of the other variant."""
    old = _figures(both, np.concatenate([own, other], axis=1))
    new = _figures(both, np.concatenate([other, own], axis=1))
    return {
        metric: np.log(new[metric] / old[metric])
        if metric == "perplexity_ratio"
        else new[metric] - old[metric]
        for metric in METRICS
    }


def _figures(columns: Columns, weights: Floats) -> dict[str, Floats]:
    questions = weights.shape[1]

    def summed(values: Floats) -> Floats:
        sums: Floats = weights @ np.bincount(columns.question, values, questions)
        return sums

    positions = summed(np.ones_like(columns.kl))
    cosine: Floats = weights @ columns.cosine / weights.sum(axis=1)
    return {
        "mean_kl": summed(columns.kl) / positions,
        "p99_kl": _percentile(columns, weights, positions),
        "top1_agreement": summed(columns.agree) / positions,
        "perplexity_ratio": np.exp(summed(columns.lost) / positions),
        "mean_cosine": cosine,
    }


def _percentile(columns: Columns, weights: Floats, positions: Floats) -> Floats:
    """The 99th percentile of the drawn positions' divergence, as `imp_deploy.quality` has it:
    counted from the largest, of which as a rule a few are enough."""
    order = np.argsort(-columns.kl, kind="stable")
    place = 0.99 * (positions - 1)
    low = np.floor(place)
    high = np.minimum(low + 1, positions - 1)
    for count in (len(order) // 10, len(order)):
        reached = np.cumsum(weights[:, columns.question[order[:count]]], axis=1)
        if count and (reached[:, -1] > positions - 1 - low).all():
            break
    values = columns.kl[order]
    at_low, at_high = (
        values[(reached <= (positions - 1 - at)[:, None]).sum(axis=1)] for at in (low, high)
    )
    found: Floats = at_low + (at_high - at_low) * (place - low)
    return found


def _difference(drawn: Floats, as_large: int) -> Difference:
    low, high = np.quantile(drawn, (1 - CONFIDENCE, CONFIDENCE))
    p = as_large / (RESAMPLES + 1)
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
