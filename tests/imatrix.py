"""Importance matrices with random values, in llama.cpp's GGUF form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFWriter

Array = np.ndarray[Any, np.dtype[Any]]

COUNT = 1000  # tokens


def random_sums(model: Path, *, head: bool = False, seed: int = 0) -> dict[str, Array]:
    """By the names of the matrices in the GGUF file `model`, sums of squares as skewed as real
    ones: a few columns outweigh all others, and some inputs are always 0. `head`: of the embedding
    table and the output head too, which llama-imatrix leaves out."""
    rng = np.random.default_rng(seed)
    sums = {}
    for tensor in GGUFReader(model).tensors:
        if len(tensor.shape) != 2:
            continue
        if tensor.name in ("token_embd.weight", "output.weight") and not head:
            continue
        columns = int(tensor.shape[0])
        values = rng.lognormal(0.0, 2.0, columns) * COUNT
        values[rng.integers(0, columns, columns // 16)] = 0.0
        values[:32] = 0.0  # a whole block without weight
        sums[tensor.name] = values.astype(np.float32)
    return sums


def write_imatrix(
    path: Path,
    sums: Mapping[str, Array],
    *,
    counts: Mapping[str, float] | None = None,
    datasets: tuple[str, ...] = ("pictures",),
    chunks: int = 7,
    without: tuple[str, ...] = (),
) -> Path:
    """`counts`: by name, where they are not `COUNT`. `without`: keys and tensors that are left
    out."""
    writer = GGUFWriter(path, "imatrix")
    writer.add_string("general.type", "imatrix")
    if "imatrix.datasets" not in without:
        writer.add_array("imatrix.datasets", list(datasets))
    for key, value in (("imatrix.chunk_count", chunks), ("imatrix.chunk_size", 512)):
        if key not in without:
            writer.add_uint32(key, value)
    for name, values in sums.items():
        count = (counts or {}).get(name, COUNT)
        for suffix, data in (
            (".in_sum2", values.reshape(1, -1)),
            (".counts", np.array([[count]], dtype=np.float32)),
        ):
            if name + suffix not in without:
                writer.add_tensor(name + suffix, np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
