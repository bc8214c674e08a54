"""The pinned llama-quantize: its function through ctypes, and comparison with its result."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from gguf import GGUFReader, LlamaFileType

from imp_deploy.convert.overrides import Override

Array = np.ndarray[Any, np.dtype[Any]]


def stock_quantize(
    source: Path,
    target: Path,
    kind: LlamaFileType,
    *,
    weights: Mapping[str, Array] | None = None,
    overrides: Sequence[Override] = (),
) -> None:
    """`llama-quantize SOURCE TARGET KIND`, which is a thin program around this function.

    `weights`: of the columns by tensor name, as it makes them of an `--imatrix`.
    """
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = int(kind)
    parameters.nthread = 2
    if weights is not None:
        entries = (llama_cpp.llama_model_imatrix_data * (len(weights) + 1))()
        for entry, (name, values) in zip(entries, weights.items(), strict=False):
            entry.name = name.encode()
            entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            entry.size = values.size
        parameters.imatrix = entries
    if overrides:
        patterns = (llama_cpp.llama_model_tensor_override * (len(overrides) + 1))()
        for entry, override in zip(patterns, overrides, strict=False):
            entry.pattern, entry.type = override.pattern.lower().encode(), override.type.value
        parameters.tt_overrides = patterns
    status = llama_cpp.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(parameters)
    )
    assert status == 0


def assert_same_tensors(ours: Path, theirs: Path) -> dict[str, str]:
    """The types by tensor name."""
    mine = {t.name: t for t in GGUFReader(ours).tensors}
    stock = {t.name: t for t in GGUFReader(theirs).tensors}
    assert mine.keys() == stock.keys()
    for name in mine:
        assert mine[name].tensor_type == stock[name].tensor_type, name
        assert np.array_equal(mine[name].data, stock[name].data), name
    return {name: tensor.tensor_type.name for name, tensor in mine.items()}


def metadata_of(path: Path) -> dict[str, Any]:
    fields = GGUFReader(path).fields
    return {key: field.contents() for key, field in fields.items() if key != "GGUF.kv_count"}
