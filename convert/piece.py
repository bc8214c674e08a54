"""One piece of one tensor: read once, checked, converted to every type asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imp_deploy.convert import low_rank
from imp_deploy.convert.checkpoint import read_rows
from imp_deploy.convert.plan import Target, Work
from imp_deploy.convert.positions import interpolate
from imp_deploy.convert.tensor import ELEMENT_BYTES
from imp_deploy.convert.values import Array, Values

# A piece takes about 12 bytes per element while it is worked on, once per core. Its size is part
# of the definition of the weights' hash, so it must not depend on the machine.
PIECE_ELEMENTS = 1 << 21

_ELEMENTS: dict[str, Any] = {"F16": np.uint16, "BF16": np.uint16, "F32": np.float32}


@dataclass(frozen=True)
class Piece:
    """Rows [first, first + count) of the tensor seen as [rows, columns]."""

    work: Work
    first: int
    count: int

    @property
    def last(self) -> bool:
        return self.first + self.count >= self.work.source.rows

    @property
    def offset(self) -> int:
        """Of its bytes in the source's file."""
        return self.work.source.offset + self.first * self._row_bytes

    @property
    def nbytes(self) -> int:
        return self.count * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return self.work.source.columns * ELEMENT_BYTES[self.work.source.dtype]


@dataclass(frozen=True)
class Converted:
    """`digest`: SHA-256 of the raw bytes that the piece was made of. `data`: for each of the work's
    targets what follows the bytes of the piece before it."""

    digest: bytes
    data: tuple[Array, ...]


def pieces_of(work: Work) -> Iterator[Piece]:
    tensor = work.source
    step = max(1, PIECE_ELEMENTS // max(1, tensor.columns))
    if work.whole:
        step = max(1, tensor.rows)
    if work.heads:
        head = tensor.rows // work.heads  # whose rows are put into another order
        step = max(head, step // head * head)
    for first in range(0, max(1, tensor.rows), step):
        yield Piece(work, first, min(step, tensor.rows - first))


def process(piece: Piece, sources: Mapping[Path, int]) -> Converted:
    """Bad values (NaN, infinite, beyond F16) raise. `sources`: open file descriptors by path."""
    work = piece.work
    tensor = work.source
    raw = read_rows(tensor, piece.first, piece.count, sources[tensor.path])
    digest = hashlib.sha256(raw.data).digest()
    elements: Array = raw.view(_ELEMENTS[tensor.dtype])
    dtype, adapter = tensor.dtype, None
    if work.parts:
        exact = Values(tensor, dtype, elements).exact
        elements = np.array(exact).reshape(piece.count, tensor.columns)
        added = low_rank.add(elements, piece.first, work.parts, sources)
        digest = hashlib.sha256(digest + added).digest()
        dtype, adapter = "F32", work.parts[0].low_rank.a.path
    if work.heads:
        elements = _in_pairs(elements, tensor.rows // work.heads, tensor.columns)
    values = Values(tensor, dtype, elements.reshape(-1), adapter)
    return Converted(digest, tuple(_data(piece, target, values) for target in work.targets))


def _data(piece: Piece, target: Target, values: Values) -> Array:
    if target.grid is not None:
        table = values.exact.reshape(-1, piece.work.source.columns)
        return interpolate(table, *target.grid)
    return values.of(
        target.slot.kind,
        more_columns=target.more_columns,
        more_rows=target.more_rows if piece.last else 0,
        importance=target.importance,
    )


def _in_pairs(elements: Array, head: int, columns: int) -> Array:
    """The rows of every head of `head` rows in the order that llama.cpp rotates: the first of the
    first half, the first of the second half, and so on."""
    rows = elements.reshape(-1, 2, head // 2, columns)
    return np.ascontiguousarray(rows.swapaxes(1, 2))
