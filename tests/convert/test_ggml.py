"""Conversions between types are exact, or rounded as everybody rounds, on this machine's ggml."""

from __future__ import annotations

import numpy as np
import pytest

from imp_deploy.convert import ggml

PATTERNS = np.arange(1 << 16, dtype=np.uint16)


def test_every_f16_value_becomes_the_same_f32() -> None:
    """The quantized files are made from these; the part of ggml that makes them is compiled for
    the machine at hand."""
    finite = PATTERNS[np.isfinite(PATTERNS.view(np.float16))]
    values = np.empty(finite.size, dtype=np.float32)
    ggml.f16_to_f32(finite, values)
    expected = finite.view(np.float16).astype(np.float32)
    assert np.array_equal(values.view(np.uint32), expected.view(np.uint32))


def test_f32_is_rounded_to_nearest_even() -> None:
    """BF16 and F32 checkpoints give the F16 file of the usual converters: of every exponent, of
    both signs, with values between two of F16 and exactly half-way."""
    chance = np.random.default_rng(0).integers(0, 1 << 32, 1 << 20, dtype=np.uint32)
    values = np.empty(PATTERNS.size, dtype=np.float32)
    ggml.f16_to_f32(PATTERNS, values)
    half_way = values.view(np.uint32)[:, None] + np.array([0xFFF, 0x1000, 0x1001], dtype=np.uint32)
    samples = np.concatenate([chance, half_way.reshape(-1)]).view(np.float32)
    samples = samples[~np.isnan(samples)]
    rounded = np.empty(samples.size, dtype=np.uint16)
    ggml.f32_to_f16(samples, rounded)
    with np.errstate(over="ignore"):
        expected = samples.astype(np.float16)
    assert np.array_equal(rounded, expected.view(np.uint16))


@pytest.mark.parametrize("place", [0, 17, 99])
def test_every_f16_pattern_that_is_no_number_is_found(place: int) -> None:
    """Among ordinary values of both signs, and alone."""
    values = np.array([0x3C00, 0xBC00], dtype=np.uint16).repeat(50)
    for pattern in PATTERNS[:: 1 if place == 17 else 31]:
        values[place] = pattern
        finite = bool(np.isfinite(pattern.view(np.float16)))
        assert ggml.all_finite_f16(values) == finite, pattern
        assert ggml.all_finite_f16(values[place : place + 1]) == finite, pattern
    assert ggml.all_finite_f16(values[:0])
