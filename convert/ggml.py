"""The pinned ggml through ctypes: conversions and quantization, with the GIL released.

Our files are byte-equal with `llama-quantize` because these are the functions that it calls, or
ours that were found to give the same on this machine.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from imp_deploy.build.quantize import quantize_library
from imp_deploy.llama import library_folder

Array = np.ndarray[Any, np.dtype[Any]]


class _InitParams(ctypes.Structure):
    """`gguf_init_params`: no tensor data is loaded, no ggml context is made."""

    _fields_: ClassVar = [("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p)]


_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


# Takes what ggml would print on standard error beside our own message; ctypes needs it kept.
_silent = _LOG(lambda _level, _text, _user: None)


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_folder() / "libggml-base.so"))
    rows: list[Any] = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    library.ggml_bf16_to_fp32_row.argtypes = rows
    library.ggml_bf16_to_fp32_row.restype = None
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
    library.gguf_init_from_file.argtypes = [ctypes.c_char_p, _InitParams]
    library.gguf_init_from_file.restype = ctypes.c_void_p
    library.gguf_free.argtypes, library.gguf_free.restype = [ctypes.c_void_p], None
    of_file, of_tensor = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int64]
    getters: tuple[tuple[str, list[Any], Any], ...] = (
        ("gguf_get_n_tensors", of_file, ctypes.c_int64),
        ("gguf_get_data_offset", of_file, ctypes.c_size_t),
        ("gguf_get_tensor_name", of_tensor, ctypes.c_char_p),
        ("gguf_get_tensor_offset", of_tensor, ctypes.c_size_t),
        ("gguf_get_tensor_type", of_tensor, ctypes.c_int),
    )
    for name, arguments, result in getters:
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    library.ggml_log_set.argtypes, library.ggml_log_set.restype = [_LOG, ctypes.c_void_p], None
    library.ggml_log_set(_silent, None)
    return library


@functools.cache
def _cpu_library() -> ctypes.CDLL:
    """The part that is compiled for this machine: its F16 conversions are 5 to 10 times as fast as
    those of the other part, with the same results (compared for every F16 and every F32 value)."""
    library = ctypes.CDLL(str(library_folder() / "libggml-cpu.so"))
    for name in ("ggml_cpu_fp16_to_fp32", "ggml_cpu_fp32_to_fp16"):
        function = getattr(library, name)
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        function.restype = None
    library.ggml_cpu_init.argtypes, library.ggml_cpu_init.restype = [], None
    library.ggml_cpu_init()  # makes the tables of processors without such instructions
    return library


_Quantizer = Callable[[int, int, int], None]  # addresses of values and rows, count of values


@functools.cache
def _fast() -> Mapping[GGMLQuantizationType, _Quantizer]:
    """Our own forms of ggml's quantizers (native/quantize), 5 to 6 times as fast, where they can be
    built and give what ggml's give, byte for byte, of values of every kind."""
    path = quantize_library()
    if path is None:
        return {}
    library, values = ctypes.CDLL(str(path)), _probe()
    found: dict[GGMLQuantizationType, _Quantizer] = {}
    for kind in (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q6_K):
        function = getattr(library, f"imp_quantize_{kind.name.lower()}")
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        function.restype = None
        if np.array_equal(_by_ours(function, kind, values), _by_ggml(kind, values, _PROBE_COLUMNS)):
            found[kind] = function
    return found


_PROBE_COLUMNS = 1024


def _probe() -> Array:
    """Normal values, some far out, halves, zeros, and groups of very different size: where two
    compilers could differ."""
    random = np.random.default_rng(0)
    count = 16 * _PROBE_COLUMNS
    normal = random.standard_normal(count)
    kinds = (
        normal * 0.02,
        random.standard_cauchy(count) * 1e-3,
        random.integers(-254, 255, count) / 2,
        normal * np.repeat(10.0 ** random.uniform(-12, 3, count // 16), 16),
        np.where(np.repeat(random.random(count // 16) < 0.5, 16), normal, 0.0),
    )
    return np.concatenate(kinds).astype(np.float16).astype(np.float32)


def load() -> None:
    """Loads the libraries once, before worker threads use them. The types that we offer need no
    tables to be made (`ggml_quantize_init` makes those of the IQ types only)."""
    _library()
    _cpu_library()
    _fast()


def nbytes(kind: GGMLQuantizationType, elements: int) -> int:
    block, size = GGML_QUANT_SIZES[kind]
    return elements // block * size


def f16_to_f32(source: Array, target: Array) -> None:
    _cpu_library().ggml_cpu_fp16_to_fp32(source.ctypes.data, target.ctypes.data, source.size)


def bf16_to_f32(source: Array, target: Array) -> None:
    """`source`: the raw 16-bit patterns."""
    _library().ggml_bf16_to_fp32_row(source.ctypes.data, target.ctypes.data, source.size)


def f32_to_f16(source: Array, target: Array) -> None:
    """Rounds to nearest even; what F16 cannot hold becomes infinite."""
    _cpu_library().ggml_cpu_fp32_to_fp16(source.ctypes.data, target.ctypes.data, source.size)


def all_finite_f16(values: Array) -> bool:
    """`values`: the raw 16-bit patterns. Not ggml's own check, which prints what it finds."""
    # Infinity and NaN are the largest patterns of either sign; this makes no copy.
    return bool(
        values.view(np.int16).max(initial=0) < 0x7C00 and values.max(initial=0) < 0x8000 + 0x7C00
    )


def all_finite_f32(values: Array) -> bool:
    return bool(np.isfinite(values).all())


def tensors_of(path: Path) -> dict[str, tuple[int, int]] | None:
    """(type, offset in bytes from the start of the file) by name, as llama.cpp reads the file's
    header; None if it does not. The gguf package would need a gigabyte for a large vocabulary."""
    library = _library()
    file = library.gguf_init_from_file(os.fsencode(path), _InitParams(True, None))
    if not file:
        return None
    try:
        start = library.gguf_get_data_offset(file)
        return {
            library.gguf_get_tensor_name(file, i).decode(errors="replace"): (
                library.gguf_get_tensor_type(file, i),
                start + library.gguf_get_tensor_offset(file, i),
            )
            for i in range(library.gguf_get_n_tensors(file))
        }
    finally:
        library.gguf_free(file)


def quantize(
    kind: GGMLQuantizationType, source: Array, columns: int, importance: Array | None = None
) -> Array:
    """`source` [rows * columns] float32 -> the bytes of the quantized rows. `importance`: float32
    [columns], what an error in each column costs; not for Q8_0, which ignores it."""
    if importance is not None:
        assert importance.dtype == np.float32
        assert importance.shape == (columns,)
        assert importance.flags.c_contiguous
    fast = _fast().get(kind) if importance is None else None
    if fast is not None:
        return _by_ours(fast, kind, source)
    return _by_ggml(kind, source, columns, importance)


def _by_ours(function: _Quantizer, kind: GGMLQuantizationType, source: Array) -> Array:
    target = np.empty(nbytes(kind, source.size), dtype=np.uint8)
    function(source.ctypes.data, target.ctypes.data, source.size)
    return target


def _by_ggml(
    kind: GGMLQuantizationType, source: Array, columns: int, importance: Array | None = None
) -> Array:
    rows = source.size // columns
    target = np.empty(nbytes(kind, source.size), dtype=np.uint8)
    written = _library().ggml_quantize_chunk(
        kind.value,
        source.ctypes.data,
        target.ctypes.data,
        0,
        rows,
        columns,
        None if importance is None else importance.ctypes.data,
    )
    assert written == target.nbytes, (kind, written, target.nbytes)
    return target
