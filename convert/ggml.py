"""The pinned ggml through ctypes: conversions and quantization, with the GIL released.

Our files are byte-equal with `llama-quantize` because these are the functions that it calls.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from imp_deploy.llama import library_folder

Array = np.ndarray[Any, np.dtype[Any]]


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_folder() / "libggml-base.so"))
    rows = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    for name in ("ggml_fp16_to_fp32_row", "ggml_bf16_to_fp32_row", "ggml_fp32_to_fp16_row"):
        function = getattr(library, name)
        function.argtypes, function.restype = rows, None
    library.ggml_quantize_init.argtypes = [ctypes.c_int]
    library.ggml_quantize_init.restype = None
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    library.ggml_validate_row_data.restype = ctypes.c_bool
    return library


def load() -> None:
    """Loads the library once, before worker threads use it."""
    library = _library()
    for kind in (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q6_K):
        library.ggml_quantize_init(kind.value)


def nbytes(kind: GGMLQuantizationType, elements: int) -> int:
    block, size = GGML_QUANT_SIZES[kind]
    return elements // block * size


def f16_to_f32(source: Array, target: Array) -> None:
    _library().ggml_fp16_to_fp32_row(source.ctypes.data, target.ctypes.data, source.size)


def bf16_to_f32(source: Array, target: Array) -> None:
    """`source`: the raw 16-bit patterns."""
    _library().ggml_bf16_to_fp32_row(source.ctypes.data, target.ctypes.data, source.size)


def f32_to_f16(source: Array, target: Array) -> None:
    """Rounds to nearest even; what F16 cannot hold becomes infinite."""
    _library().ggml_fp32_to_fp16_row(source.ctypes.data, target.ctypes.data, source.size)


def all_finite_f16(values: Array) -> bool:
    kind = GGMLQuantizationType.F16.value
    return bool(_library().ggml_validate_row_data(kind, values.ctypes.data, values.nbytes))


def all_finite_f32(values: Array) -> bool:
    kind = GGMLQuantizationType.F32.value
    return bool(_library().ggml_validate_row_data(kind, values.ctypes.data, values.nbytes))


def quantize(kind: GGMLQuantizationType, source: Array, columns: int) -> Array:
    """`source` [rows * columns] float32 -> the bytes of the quantized rows."""
    rows = source.size // columns
    target = np.empty(nbytes(kind, source.size), dtype=np.uint8)
    written = _library().ggml_quantize_chunk(
        kind.value, source.ctypes.data, target.ctypes.data, 0, rows, columns, None
    )
    assert written == target.nbytes, (kind, written, target.nbytes)
    return target
