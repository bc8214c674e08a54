"""What is in a GGUF file."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFReader

from imp_deploy.convert import ggml
from imp_deploy.errors import BadInput

_LONGEST = 16  # of a list's entries; a vocabulary has tens of thousands


@dataclass(frozen=True)
class TensorInfo:
    name: str
    type: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class GgufInfo:
    """`metadata`: long lists are cut to their length. `shape` of tensors row-major."""

    path: str
    bytes: int
    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]

    @property
    def types(self) -> dict[str, int]:
        """Bytes per tensor type."""
        sums: Counter[str] = Counter()
        for tensor in self.tensors:
            sums[tensor.type] += tensor.bytes
        return dict(sums.most_common())

    @property
    def parameters(self) -> int:
        total = 0
        for tensor in self.tensors:
            size = 1
            for n in tensor.shape:
                size *= n
            total += size
        return total


def read_gguf(path: Path) -> GgufInfo:
    # llama.cpp's reader first: the gguf package believes every count and fills the memory.
    if ggml.tensors_of(path) is None:
        raise BadInput(f"{path} is not a whole GGUF file; export or copy it again.")
    try:
        reader = GGUFReader(path)
        metadata = {k: _value(f) for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    except Exception as error:  # whatever the package meets in a foreign file
        raise BadInput(
            f"{path} is not a whole GGUF file ({error}); export or copy it again."
        ) from None
    tensors = tuple(
        TensorInfo(t.name, t.tensor_type.name, tuple(int(n) for n in t.shape[::-1]), int(t.n_bytes))
        for t in reader.tensors
    )
    return GgufInfo(str(path), path.stat().st_size, metadata, tensors)


def _value(field: Any) -> Any:
    if len(field.data) > _LONGEST:
        return f"[{len(field.data)} entries]"
    value = field.contents()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    return value.item() if hasattr(value, "item") else value
