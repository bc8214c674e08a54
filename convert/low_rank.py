"""What a LoRA adapter adds to a weight, row by row: W + scale * B @ A (arXiv 2106.09685, section
4.1), without ever holding W or B as a whole."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imp_deploy.convert import ggml
from imp_deploy.convert.checkpoint import read_rows
from imp_deploy.convert.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]

# The product is made this many rows at a time: it is then a few megabytes for the widest weight,
# and numpy's BLAS is as fast as with the whole piece (measured for 64 to 700 rows).
_BLOCK_ROWS = 128

# Of all A together. A's of the widest layers at rank 256 are 14 MB each, and the pieces that are
# worked on at one time belong to a few neighbouring tensors.
_CACHE_BYTES = 1 << 26


@dataclass(frozen=True)
class LowRank:
    """One adapted module. `module`: its name in the model; `a` [rank, columns]; `b` [rows, rank];
    `scale`: alpha / rank, or alpha / sqrt(rank)."""

    module: str
    a: Tensor
    b: Tensor
    scale: float


@dataclass(frozen=True)
class Part:
    """Rows [first, first + count) of a weight get scale * B[start : start + count] @ A: one of
    several adapters of a fused weight, or a piece of the adapter of a fused one."""

    low_rank: LowRank
    first: int
    start: int
    count: int


def add(
    values: Array, first_row: int, parts: Sequence[Part], open_files: Mapping[Path, int]
) -> bytes:
    """Adds what `parts` give to rows [first_row, first_row + rows) of a weight.

    `values`: those rows, float32 [rows, columns], changed in place. `open_files`: descriptors of
    the adapter's files. Returns a SHA-256 of everything that was added: the raw bytes of A and of
    the rows of B, their types and places, and the scale. NaN and infinity pass through. May be
    called from several threads.
    """
    rows = len(values)
    digest = hashlib.sha256()
    with np.errstate(all="ignore"):
        for part in parts:
            low = max(part.first, first_row)
            high = min(part.first + part.count, first_row + rows)
            if low < high:
                start = part.start + low - part.first
                target = values[low - first_row : high - first_row]
                digest.update(struct.pack("<qqq", low, start, high - low))
                digest.update(_add_rows(target, part.low_rank, start, open_files))
    return digest.digest()


def _add_rows(
    values: Array, low_rank: LowRank, start: int, open_files: Mapping[Path, int]
) -> bytes:
    """Adds scale * B[start : start + rows] @ A."""
    a = _factors.get(low_rank.a, open_files[low_rank.a.path])
    raw = read_rows(low_rank.b, start, len(values), open_files[low_rank.b.path])
    b = _float32(raw, low_rank.b.dtype).reshape(len(values), -1) * np.float32(low_rank.scale)
    product = np.empty((min(len(b), _BLOCK_ROWS), a.values.shape[1]), dtype=np.float32)
    for first in range(0, len(b), _BLOCK_ROWS):
        block = b[first : first + _BLOCK_ROWS]
        np.matmul(block, a.values, out=product[: len(block)])
        values[first : first + _BLOCK_ROWS] += product[: len(block)]
    kinds = f"{low_rank.scale!r} {low_rank.a.dtype} {low_rank.a.shape} {low_rank.b.dtype}\n"
    return kinds.encode() + a.digest + hashlib.sha256(raw.data).digest()


def _float32(raw: Array, dtype: str) -> Array:
    if dtype == "F32":
        return raw.view(np.float32)
    patterns = raw.view(np.uint16)
    values = np.empty(patterns.size, dtype=np.float32)
    convert = ggml.f16_to_f32 if dtype == "F16" else ggml.bf16_to_f32
    convert(patterns, values)
    return values


@dataclass(frozen=True)
class _Factor:
    """A matrix A as float32, and the SHA-256 of its bytes in the file."""

    values: Array
    digest: bytes


class _Factors:
    """The last few A's: every piece of a weight needs the whole of its A. Threads that want the
    same one at the same time read it once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, tuple[int, Future[_Factor]]] = OrderedDict()
        self._bytes = 0

    def get(self, tensor: Tensor, handle: int) -> _Factor:
        stat = os.fstat(handle)  # another file may get this path in the life of a process
        key = (tensor, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        mine: Future[_Factor] | None = None
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                future = self._kept[key][1]
            else:
                future = mine = Future()
                self._keep(key, 4 * tensor.rows * tensor.columns, mine)
        if mine is not None:
            try:
                mine.set_result(_read(tensor, handle))
            except BaseException as error:
                mine.set_exception(error)
                self._forget(key)
        return future.result()

    def _keep(self, key: object, size: int, future: Future[_Factor]) -> None:
        self._kept[key] = (size, future)
        self._bytes += size
        while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
            _, (dropped, _) = self._kept.popitem(last=False)
            self._bytes -= dropped

    def _forget(self, key: object) -> None:
        with self._lock:
            size, _ = self._kept.pop(key, (0, None))
            self._bytes -= size


def _read(tensor: Tensor, handle: int) -> _Factor:
    raw = read_rows(tensor, 0, tensor.rows, handle)
    values = _float32(raw, tensor.dtype).reshape(tensor.rows, tensor.columns)
    return _Factor(values, hashlib.sha256(raw.data).digest())


_factors = _Factors()
