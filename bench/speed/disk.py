"""What the disk and the kernels give: the floor under an export."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import time
from pathlib import Path

import numpy as np

from imp_deploy import llama

_BUFFER = 1 << 22  # bytes; O_DIRECT gains nothing from more
# Numbers of ggml's types (`enum ggml_type`) that an export quantizes to.
TYPES = {"Q4_0": 2, "Q8_0": 8, "Q6_K": 14}
_ROW = 2560  # values; a multiple of every type's block
_ROWS = 2048


def write_rate(folder: Path, size: int = 1 << 30) -> float:
    """Bytes per second of one sequential write of `size` bytes, flushed; past the page cache, where
    the file system can do that."""
    path = folder / ".write-rate"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        handle = os.open(path, flags | os.O_DIRECT, 0o644)
    except OSError:
        handle = os.open(path, flags, 0o644)
    try:
        with mmap.mmap(-1, _BUFFER) as buffer:  # aligned, as O_DIRECT wants it
            buffer.write(os.urandom(_BUFFER))
            os.posix_fallocate(handle, 0, size)
            began = time.monotonic()
            for offset in range(0, size, _BUFFER):
                os.pwrite(handle, buffer, offset)
            os.fsync(handle)
            return size / (time.monotonic() - began)
    finally:
        os.close(handle)
        path.unlink()


def warm(folder: Path) -> float:
    """Reads every file of `folder` so that the page cache holds it; bytes per second of doing so
    again for the largest one."""
    files = sorted((f for f in folder.iterdir() if f.is_file()), key=lambda f: f.stat().st_size)
    for file in files:
        _read(file)
    began = time.monotonic()
    return _read(files[-1]) / (time.monotonic() - began)


def _read(file: Path) -> int:
    buffer, size = bytearray(_BUFFER), 0
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            size += count
    return size


def quantize_rate(kind: int, repetitions: int = 3) -> float:
    """Parameters per second and core of ggml's own quantizer for the type number `kind`."""
    base = ctypes.CDLL(str(llama.library_folder() / "libggml-base.so"))
    chunk = base.ggml_quantize_chunk
    pointer = ctypes.c_void_p
    chunk.argtypes = [ctypes.c_int, pointer, pointer, *[ctypes.c_int64] * 3, pointer]
    chunk.restype = ctypes.c_size_t
    values = np.random.default_rng(0).standard_normal(_ROW * _ROWS, dtype=np.float32)
    out = np.zeros(values.nbytes, np.uint8)
    best = 0.0
    for _ in range(repetitions):
        began = time.process_time()
        chunk(kind, values.ctypes.data, out.ctypes.data, 0, _ROWS, _ROW, None)
        best = max(best, values.size / (time.process_time() - began))
    return best


def hash_rate(size: int = 1 << 28) -> float:
    """Bytes per second and core of SHA-256, which a bundle holds of every file."""
    block = bytes(_BUFFER)
    digest = hashlib.sha256()
    began = time.process_time()
    for _ in range(0, size, _BUFFER):
        digest.update(block)
    return size / (time.process_time() - began)
