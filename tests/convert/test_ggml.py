"""Conversions between types are exact, or rounded as everybody rounds, on this machine's ggml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType

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


FAST = (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q6_K)


def samples() -> list[np.ndarray]:
    """Values of many sizes; those of every F16 pattern; groups of zeros; halves."""
    random = np.random.default_rng(7)
    count = 1 << 18
    normal = random.standard_normal(count)
    patterns = random.integers(0, 1 << 16, count).astype(np.uint16)
    patterns[(patterns & 0x7C00) == 0x7C00] = 0
    zeros = np.repeat(random.random(count // 16) < 0.5, 16)
    sizes = np.repeat(10.0 ** random.uniform(-12, 3, count // 16), 16)
    made = (
        normal * 0.02,
        np.clip(normal * 20000, -65504, 65504),
        patterns.view(np.float16),
        random.integers(-254, 255, count) / 2,
        np.where(zeros, normal, 0),
        normal * sizes,
        normal * 1e-30,
        normal * 1e-40,
        np.zeros(count),
        random.standard_cauchy(count) * 1e-3,
    )
    return [values.astype(np.float32) for values in made]


@pytest.mark.parametrize("kind", FAST, ids=lambda kind: kind.name)
def test_the_fast_quantizers_give_what_ggml_gives(kind: GGMLQuantizationType) -> None:
    assert set(ggml._fast()) == set(FAST)
    for values in samples():
        assert np.array_equal(ggml.quantize(kind, values, 512), ggml._by_ggml(kind, values, 512))


@pytest.fixture
def without_ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ggml._fast.cache_clear()
    yield
    monkeypatch.undo()
    ggml._fast.cache_clear()


@pytest.mark.usefixtures("without_ours")
def test_without_a_compiler_ggml_quantizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An export must not need one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", str(tmp_path / "no compiler"))
    assert not ggml._fast()
    values = samples()[0]
    for kind in FAST:
        made = ggml.quantize(kind, values, 512)
        assert np.array_equal(made, ggml._by_ggml(kind, values, 512))


@pytest.mark.usefixtures("without_ours")
def test_a_quantizer_that_gives_other_bytes_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another compiler may contract or reorder: the files must stay what llama-quantize makes."""
    real = ggml._by_ggml

    def other(kind: GGMLQuantizationType, *rest: Any) -> np.ndarray:
        made = real(kind, *rest)
        made[-1] ^= kind == GGMLQuantizationType.Q6_K
        return made

    with monkeypatch.context() as changed:
        changed.setattr(ggml, "_by_ggml", other)
        assert set(ggml._fast()) == {GGMLQuantizationType.Q8_0}
