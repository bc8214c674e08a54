"""The merge of a LoRA adapter, piece by piece: which rows, which bytes, how much memory."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imp_deploy.convert.adapter import open_adapter
from imp_deploy.convert.blas import blas_threads, one_blas_thread
from imp_deploy.convert.low_rank import LowRank, Part, add
from imp_deploy.convert.tensor import Tensor
from tests.lora import Array, Q, applied, as_bin, everything, matrices, merged, opened, read, write
from tests.small import edit_json


@pytest.fixture
def pair(tmp_path: Path) -> LowRank:
    """An adapter of a weight of 300 x 40: more rows than one block of the product."""
    folder = write(tmp_path / "pair", matrices(Q, rows=300, columns=40))
    return open_adapter(folder).modules[Q]


def product(low_rank: LowRank) -> Array:
    exact: Array = low_rank.scale * read(low_rank.b).astype(np.float64) @ read(low_rank.a)
    return exact


def test_any_piece_of_a_weight_gets_its_own_rows(pair: LowRank) -> None:
    """Pieces are cut by size: a shift by one row ruins a model that still loads and talks."""
    base = np.random.default_rng(0).standard_normal((300, 40)).astype(np.float32)
    expected = base + product(pair)
    for step in (1, 7, 128, 129, 299, 300, 1000):
        values, _ = merged(base, everything(pair), step)
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=5e-6, err_msg=f"{step} rows")


def test_separate_adapters_of_a_fused_weight(tmp_path: Path) -> None:
    """Wqkv of the old Phi holds Q, K and V; PEFT on the new one trained them one by one."""
    names = [f"model.layers.0.self_attn.{letter}_proj" for letter in "qkv"]
    tensors = matrices(names[0], rows=16) | matrices(*names[1:], rows=6)
    adapter = open_adapter(write(tmp_path, tensors))
    q, k, v = (adapter.modules[name] for name in names)
    parts = [Part(q, 0, 0, 16), Part(k, 16, 0, 6), Part(v, 22, 0, 6)]
    expected = np.concatenate([product(q), product(k), product(v)])
    for step in (1, 5, 17, 28):
        values, _ = merged(np.zeros((28, 8)), parts, step)
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=5e-6)
    untouched, _ = merged(np.ones((28, 8)), parts[2:], 3)
    assert np.array_equal(untouched[:22], np.ones((22, 8)))


def test_the_adapter_of_a_fused_weight_on_separate_ones(pair: LowRank) -> None:
    """And the reverse: rows 120 to 199 of the adapter are all of K."""
    values, _ = merged(np.zeros((80, 40)), [Part(pair, 0, 120, 80)], step=33)
    np.testing.assert_allclose(values, product(pair)[120:200], rtol=1e-5, atol=5e-6)


def test_threads_share_what_they_read(pair: LowRank) -> None:
    """The export's workers take pieces of the same weight at the same time."""
    base = np.zeros((300, 40), dtype=np.float32)
    expected, digests = merged(base, everything(pair), 10)
    values = base.copy()
    with opened(pair.a.path) as handles, ThreadPoolExecutor(8) as pool:
        found = pool.map(
            lambda first: add(values[first : first + 10], first, everything(pair), handles),
            range(0, 300, 10),
        )
        assert list(found) == digests
    assert np.array_equal(values, expected)


def test_a_product_is_one_threads_work() -> None:
    """BLAS threads beside the export's own made a merge up to ten times slower."""
    before = blas_threads()
    assert before is not None, "numpy's BLAS is not the one that is known here"
    with one_blas_thread():
        assert blas_threads() == 1
    assert blas_threads() == before


def test_values_that_are_not_finite_pass_without_a_warning(tmp_path: Path) -> None:
    """The exporter refuses them by name, in its own words."""
    tensors = matrices(Q)
    tensors[f"{Q}.lora_B.weight"][3, 0] = np.nan
    tensors[f"{Q}.lora_A.weight"][:, 5] = np.inf
    low_rank = open_adapter(write(tmp_path, tensors)).modules[Q]
    values, _ = merged(np.zeros((16, 8)), everything(low_rank))
    assert np.isnan(values[3]).all()
    assert not np.isfinite(values[:, 5]).any()


# The digest.


def digests(folder: Path, rows: int = 16, step: int = 5, **settings: Any) -> list[bytes]:
    if settings:
        edit_json(folder / "adapter_config.json", lambda config: config.update(settings))
    low_rank = open_adapter(folder).modules[Q]
    return merged(np.zeros((rows, 8)), everything(low_rank), step)[1]


def test_the_digest_is_that_of_the_contents(tmp_path: Path) -> None:
    """It says whether a bundle is up to date: the same adapter elsewhere, or in another kind of
    file, is the same; another training, rank or scale is not."""
    tensors = matrices(Q)
    one = digests(write(tmp_path / "one", tensors))
    assert len(set(one)) == len(one)
    as_bin(write(tmp_path / "two", tensors))
    assert digests(tmp_path / "two") == one
    assert all(a != b for a, b in zip(digests(tmp_path / "two", lora_alpha=9), one, strict=True))

    tensors[f"{Q}.lora_B.weight"][7] += 1
    other_b = digests(write(tmp_path / "three", tensors))
    assert [a == b for a, b in zip(other_b, one, strict=True)] == [True, False, True, True]
    tensors[f"{Q}.lora_A.weight"][0, 0] += 1
    other_a = digests(write(tmp_path / "four", tensors))
    assert all(a != b for a, b in zip(other_a, other_b, strict=True))


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    """What is kept of the last file must not be merged for the next one at its place."""
    first, second = matrices(Q), matrices(Q, "other")
    write(tmp_path, first)
    before = applied(open_adapter(tmp_path), {f"{Q}.weight": np.zeros((16, 8))})
    (tmp_path / "adapter_model.safetensors").unlink()
    write(tmp_path, {name: second[name] for name in first})
    low_rank = open_adapter(tmp_path).modules[Q]
    after, _ = merged(np.zeros((16, 8)), everything(low_rank))
    np.testing.assert_allclose(after, product(low_rank), rtol=1e-5, atol=5e-6)
    assert not np.allclose(after, before[f"{Q}.weight"])


def test_memory_stays_flat(tmp_path: Path) -> None:
    """A 13B model at rank 256: 15 MB per matrix A, and hundreds of them."""
    rank, columns, rows, count = 256, 13824, 64, 16
    path = tmp_path / "sparse"
    size = 2 * rank * columns
    with path.open("wb") as file:
        file.truncate(count * size + 2 * rank * rows)
    b = Tensor("b", path, "F16", (rows, rank), count * size)
    values = np.zeros((rows, columns), dtype=np.float32)
    tracemalloc.start()
    try:
        with opened(path) as handles:
            for i in range(count):
                a = Tensor("a", path, "F16", (rank, columns), i * size)
                add(values, 0, everything(LowRank("m", a, b, 1.0)), handles)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6, f"{peak / 1e6:.0f} MB"
