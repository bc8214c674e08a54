"""One tensor of a checkpoint: what it is and where its bytes lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

ELEMENT_BYTES = {"F16": 2, "BF16": 2, "F32": 4}


@dataclass(frozen=True)
class Tensor:
    """`dtype`: a key of `ELEMENT_BYTES`; data is contiguous, row-major, little-endian, and starts
    at byte `offset` of `path`."""

    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def columns(self) -> int:
        """Length of the last axis; 1 for a scalar."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * ELEMENT_BYTES[self.dtype]
