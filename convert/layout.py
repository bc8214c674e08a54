"""Where everything lies in a GGUF file, decided before the first tensor is read.

With header, order and offsets known, one pass over the checkpoint fills all files from beginning to
end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter

from imp_deploy.bundle import BundleFile
from imp_deploy.convert.ggml import nbytes

_ALIGNMENT = 32


@dataclass(frozen=True)
class Slot:
    """A tensor's place in a file. `shape` row-major (PyTorch's order); `offset` from the start of
    the file, in bytes."""

    name: str
    kind: GGMLQuantizationType
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
        return nbytes(self.kind, int(np.prod(self.shape)))

    @property
    def end(self) -> int:
        """The offset behind its last byte."""
        return self.offset + self.nbytes


@dataclass(frozen=True)
class OutputFile:
    """`about`: its entry in the manifest, still without size and hash."""

    about: BundleFile
    header: bytes
    slots: Mapping[str, Slot]
    size: int


def lay_out(
    about: BundleFile,
    architecture: str,
    metadata: Mapping[str, Any],
    tensors: Sequence[tuple[str, GGMLQuantizationType, tuple[int, ...]]],
    scratch: Path,
) -> OutputFile:
    """`tensors` in file order. `scratch`: a path that the gguf library may write the header to."""
    writer = GGUFWriter(None, architecture)
    for key, value in metadata.items():
        _add(writer, key, value)
    for name, kind, shape in tensors:
        size = nbytes(kind, int(np.prod(shape)))
        writer.add_tensor_info(name, shape, np.dtype(np.float32), size, raw_dtype=kind)
    writer.write_header_to_file(scratch)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    header = scratch.read_bytes()
    scratch.unlink()
    header += b"\0" * (-len(header) % _ALIGNMENT)
    slots: dict[str, Slot] = {}
    offset = len(header)
    for name, kind, shape in tensors:
        slots[name] = Slot(name, kind, shape, offset)
        offset += slots[name].nbytes
        offset += -offset % _ALIGNMENT
    return OutputFile(about, header, slots, offset)


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    """Integers become uint32 and floats float32, as llama.cpp reads them; lists of integers are
    int32 arrays."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value and isinstance(value[0], int):
        writer.add_key_value(key, value, GGUFValueType.ARRAY, sub_type=GGUFValueType.INT32)
    else:
        writer.add_array(key, value)
