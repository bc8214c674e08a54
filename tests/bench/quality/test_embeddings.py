"""A tower that lost precision shows in small angles, which storage must not hide or make up."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imp_deploy.bench.quality.embeddings import cosines, rounded


def tokens(seed: int, count: int = 50, hidden: int = 300) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, hidden)).astype(np.float32)


def exact(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    return (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_equal_embeddings(scale: float) -> None:
    """Exactly 1, however large the numbers are: float16 alone ends at 65504."""
    same = tokens(0) * np.float32(scale)
    found = cosines(rounded(same), rounded(same.copy()))
    assert (found.worst, found.mean) == (1.0, 1.0)


@pytest.mark.parametrize("noise", [1e-3, 1e-2, 0.1, 1.0])
def test_nearly_as_without_rounding(noise: float) -> None:
    a = tokens(0)
    b = a + np.float32(noise) * tokens(1)
    b[7] *= 1000  # an outlier, as vision towers have
    found, wanted = cosines(rounded(a), rounded(b)), exact(a, b)
    # Rounding turns each vector a little: the less the angle, the less its cosine changes.
    sine = np.sqrt(1 - wanted.min() ** 2)
    assert found.worst == pytest.approx(wanted.min(), abs=5e-5 * sine + 1e-7)
    assert found.mean == pytest.approx(wanted.mean(), abs=1e-5 * sine + 1e-7)


def test_one_wrong_token_is_the_worst() -> None:
    a = tokens(0)
    b = a.copy()
    b[31] = -b[31]
    found = cosines(rounded(a), rounded(b))
    assert found.worst == -1.0
    assert found.mean == pytest.approx(48 / 50)


def test_a_token_without_length() -> None:
    a = tokens(0)
    a[3] = 0
    assert cosines(rounded(a), rounded(a)).worst == 1.0
    assert cosines(rounded(a), rounded(tokens(0))).worst == 0.0
