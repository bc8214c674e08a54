"""One piece of one tensor: read once, checked, converted to every type asked for, written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType

from imp_deploy.convert import ggml, low_rank
from imp_deploy.convert.checkpoint import read_rows
from imp_deploy.convert.plan import Work
from imp_deploy.convert.positions import interpolate
from imp_deploy.convert.tensor import Tensor
from imp_deploy.errors import BadInput

Array = np.ndarray[Any, np.dtype[Any]]

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


def process(piece: Piece, sources: Mapping[Path, int], targets: Sequence[int]) -> bytes:
    """Writes the piece into every target file and returns the SHA-256 of the raw bytes that it was
    made of.

    `sources`: open file descriptors by path; `targets`: of the output files. Bad values (NaN,
    infinite, beyond F16) raise.
    """
    work = piece.work
    tensor = work.source
    raw = read_rows(tensor, piece.first, piece.count, sources[tensor.path])
    digest = hashlib.sha256(raw.data).digest()
    elements: Array = raw.view(_ELEMENTS[tensor.dtype])
    dtype, adapter = tensor.dtype, None
    if work.parts:
        exact = _Values(tensor, dtype, elements).exact
        elements = np.array(exact).reshape(piece.count, tensor.columns)
        added = low_rank.add(elements, piece.first, work.parts, sources)
        digest = hashlib.sha256(digest + added).digest()
        dtype, adapter = "F32", work.parts[0].low_rank.a.path
    if work.heads:
        elements = _in_pairs(elements, tensor.rows // work.heads, tensor.columns)
    values = _Values(tensor, dtype, elements.reshape(-1), adapter)
    start = piece.first * tensor.columns
    for target in work.targets:
        slot = target.slot
        if target.grid is not None:
            table = values.exact.reshape(-1, tensor.columns)
            data: Array = interpolate(table, *target.grid)
        else:
            data = values.of(slot.kind)
        offset = slot.offset + ggml.nbytes(slot.kind, start)
        _write(targets[target.file], data, offset)
    return digest


def _in_pairs(elements: Array, head: int, columns: int) -> Array:
    """The rows of every head of `head` rows in the order that llama.cpp rotates: the first of the
    first half, the first of the second half, and so on."""
    rows = elements.reshape(-1, 2, head // 2, columns)
    return np.ascontiguousarray(rows.swapaxes(1, 2))


class _Values:
    """The piece's values in the types that targets need, each made at most once.

    `elements`: flat, of the type `dtype`; BF16 and F16 as their bit patterns. `adapter`: the file
    of the LoRA adapter that was added to them.
    """

    def __init__(
        self, tensor: Tensor, dtype: str, elements: Array, adapter: Path | None = None
    ) -> None:
        self._tensor = tensor
        self._dtype = dtype
        self._adapter = adapter
        self._half: Array | None = elements if dtype == "F16" else None
        self._exact: Array | None = elements if dtype == "F32" else None
        self._rounded: Array | None = None
        if dtype == "BF16":
            self._exact = np.empty(elements.size, dtype=np.float32)
            ggml.bf16_to_f32(elements, self._exact)
        if self._half is not None:
            finite = ggml.all_finite_f16(self._half)
        else:
            finite = ggml.all_finite_f32(self.exact)
        if not finite:
            raise BadInput(
                f"{self._name} holds NaN or infinite values; the checkpoint is damaged or its "
                f"training diverged, so {self._cure}."
            )

    @property
    def _name(self) -> str:
        """For errors."""
        tensor = f"{self._tensor.path}: the tensor {self._tensor.name}"
        return tensor if self._adapter is None else f"{tensor} with {self._adapter} added to it"

    @property
    def _cure(self) -> str:
        files = "it" if self._adapter is None else "both"
        return f"download {files} again"

    @property
    def exact(self) -> Array:
        """float32, the checkpoint's own values."""
        if self._exact is None:
            assert self._half is not None
            self._exact = np.empty(self._half.size, dtype=np.float32)
            ggml.f16_to_f32(self._half, self._exact)
        return self._exact

    @property
    def half(self) -> Array:
        """F16 bit patterns, rounded to nearest even."""
        if self._half is None:
            self._half = np.empty(self.exact.size, dtype=np.uint16)
            ggml.f32_to_f16(self.exact, self._half)
            if not ggml.all_finite_f16(self._half):
                worst = float(np.abs(self.exact).max())
                raise BadInput(
                    f"{self._name} holds values up to {worst:.6g}, and F16 ends at 65504; use a "
                    "checkpoint that fits into F16."
                )
        return self._half

    @property
    def rounded(self) -> Array:
        """float32 of the F16 values: what `llama-quantize` reads from the F16 file."""
        if self._rounded is None:
            if self._dtype == "F16":
                self._rounded = self.exact
            else:
                self._rounded = np.empty(self.half.size, dtype=np.float32)
                ggml.f16_to_f32(self.half, self._rounded)
        return self._rounded

    def of(self, kind: GGMLQuantizationType) -> Array:
        if kind == GGMLQuantizationType.F32:
            return self.exact
        if kind == GGMLQuantizationType.F16:
            return self.half
        return ggml.quantize(kind, self.rounded, self._tensor.columns)


def _write(handle: int, data: Array, offset: int) -> None:
    view = data.view(np.uint8).reshape(-1).data
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written
