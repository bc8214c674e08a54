"""Divergences that are wrong, or lost in storage, would pass a broken model."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax

from imp_deploy.bench.quality.distribution import DROPPED, Row, compact, diverge
from imp_deploy.errors import BadInput


def row(*probabilities: float) -> Row:
    return np.log(np.array(probabilities)).astype(np.float32)


def peaked(vocabulary: int, sharpness: float, seed: int = 0) -> Row:
    """Logits whose mass lies, as a language model's does, on a few tokens with a long tail."""
    rng = np.random.default_rng(seed)
    return (sharpness * rng.standard_normal(vocabulary)).astype(np.float32)


def full(reference: Row, other: Row) -> float:
    """KL over the whole vocabulary, by scipy."""
    p: NDArray[np.float64] = log_softmax(reference.astype(np.float64))
    q: NDArray[np.float64] = log_softmax(other.astype(np.float64))
    return float((np.exp(p) * (p - q)).sum())


def test_two_small_distributions_by_hand() -> None:
    """KL((1/2, 1/4, 1/4) || (1/4, 1/4, 1/2)) = 1/2 ln 2 + 0 - 1/4 ln 2 = 1/4 ln 2."""
    found = diverge(compact(row(0.5, 0.25, 0.25)), row(0.25, 0.25, 0.5))
    assert found.kl == pytest.approx(0.25 * math.log(2), rel=1e-6)
    assert not found.agree
    assert found.reference_log_p == pytest.approx(math.log(0.5), rel=1e-6)
    assert found.log_p == pytest.approx(math.log(0.25), rel=1e-6)


def test_the_rest_is_one_sum_by_hand() -> None:
    """The last two have less than `DROPPED` together: 3e-5 in the reference, 5e-5 in the other."""
    reference, other = row(0.6, 0.39997, 2e-5, 1e-5), row(0.6, 0.39995, 1e-5, 4e-5)
    kept = compact(reference)
    assert kept.ids.tolist() == [0, 1]
    assert math.exp(kept.log_rest) == pytest.approx(3e-5, rel=1e-3)
    by_hand = 0.39997 * math.log(0.39997 / 0.39995) + 3e-5 * math.log(3e-5 / 5e-5)
    assert diverge(kept, other).kl == pytest.approx(by_hand, rel=0.02)


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 8.0])
def test_a_distribution_is_itself(sharpness: float) -> None:
    """An unchanged model must give 0, not something small: a gate would count on it."""
    logits = peaked(5000, sharpness)
    found = diverge(compact(logits), logits.copy())
    assert (found.kl, found.agree) == (0.0, True)
    assert found.log_p == found.reference_log_p


@pytest.mark.parametrize("sharpness", [1.0, 2.0, 4.0, 8.0])
def test_little_is_lost_in_storage(sharpness: float) -> None:
    """Never above the full divergence, and below it by no more than the rest can hold."""
    logits = peaked(20000, sharpness)
    for noise in (1e-3, 0.05, 0.5):
        other = logits + peaked(20000, noise, seed=1)
        exact, kept = full(logits, other), compact(logits)
        found = diverge(kept, other).kl
        assert found <= exact + 1e-12
        log_q = log_softmax(other.astype(np.float64))
        inside = np.setdiff1d(np.arange(20000), kept.ids)
        ratio = log_softmax(logits.astype(np.float64))[inside] - log_q[inside]
        assert exact - found <= DROPPED * float(ratio.max() - ratio.min())
        assert found == pytest.approx(exact, rel=2e-3, abs=1e-9)


def test_the_rest_is_less_than_promised() -> None:
    for sharpness in (0.1, 1.0, 3.0, 10.0):
        kept = compact(peaked(3000, sharpness))
        assert math.exp(kept.log_rest) < DROPPED
        assert kept.ids[0] == np.argmax(peaked(3000, sharpness))


def test_sharp_distributions_are_small_on_the_disk() -> None:
    assert len(compact(peaked(50000, 10.0)).ids) < 200


def test_the_first_of_two_most_likely_tokens() -> None:
    """The runner takes the first: another choice would force another answer."""
    assert compact(row(0.2, 0.4, 0.4)).chosen == 1
    assert diverge(compact(row(0.2, 0.4, 0.4)), row(0.2, 0.4, 0.4)).agree


def test_a_variant_that_is_certain_of_another_token_has_no_infinite_divergence() -> None:
    certain = np.full(1000, -300.0, np.float32)
    certain[7] = 300.0
    found = diverge(compact(peaked(1000, 3.0)), certain)
    assert math.isfinite(found.kl)
    assert 500 < found.kl < 700


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers(broken: float) -> None:
    logits = peaked(100, 1.0)
    logits[3] = broken
    with pytest.raises(BadInput, match="export the bundle again"):
        compact(logits)
    with pytest.raises(BadInput, match="export the bundle again"):
        diverge(compact(peaked(100, 1.0)), logits)
