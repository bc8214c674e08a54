"""The values of one piece of a tensor, in every type that a file asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType

from imp_deploy.convert import ggml
from imp_deploy.convert.tensor import Tensor
from imp_deploy.errors import BadInput

Array = np.ndarray[Any, np.dtype[Any]]


class Values:
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
        self._made: dict[tuple[GGMLQuantizationType, int, int], Array] = {}
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

    def of(
        self,
        kind: GGMLQuantizationType,
        *,
        more_columns: int = 0,
        more_rows: int = 0,
        importance: Array | None = None,
    ) -> Array:
        """In the type `kind`, with so many zeros behind every row, and so many rows of zeros behind
        the last; flat, or the bytes of a quantized type. `importance`: of the columns, float32."""
        if importance is not None:  # asked for once, by the file of 4 bits
            return self._make(kind, more_columns, more_rows, importance)
        key = (kind, more_columns, more_rows)
        if key not in self._made:
            self._made[key] = self._make(kind, more_columns, more_rows, None)
        return self._made[key]

    def _make(
        self,
        kind: GGMLQuantizationType,
        more_columns: int,
        more_rows: int,
        importance: Array | None,
    ) -> Array:
        if kind == GGMLQuantizationType.F32:
            values = self.exact
        elif kind == GGMLQuantizationType.F16:
            values = self.half
        else:
            values = self.rounded
        columns = self._tensor.columns
        if more_columns or more_rows:
            values = _with_zeros(values.reshape(-1, columns), more_columns, more_rows)
            columns += more_columns
        if kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
            return values
        return ggml.quantize(kind, values, columns, importance)


def _with_zeros(values: Array, more_columns: int, more_rows: int) -> Array:
    """`values`: [rows, columns]; flat."""
    rows, columns = values.shape
    wider = np.zeros((rows + more_rows, columns + more_columns), dtype=values.dtype)
    wider[:rows, :columns] = values
    return wider.reshape(-1)
