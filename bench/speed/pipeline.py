"""llama.cpp's own way from a checkpoint to its files: `convert_hf_to_gguf.py`, `llama-quantize`."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from imp_deploy import llama_source
from imp_deploy.bench import stock
from imp_deploy.bench.speed import child


def convert_and_quantize(plain: Path, out: Path, types: tuple[str, ...]) -> dict[str, float]:
    """F16 from `plain` into the empty folder `out`, and from that each of the other `types`. The
    time is from the first start to the last byte on the disk; the files that are asked for (F16
    only if it is one of `types`) are flushed once, after the last, when much of them is already
    there."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    os.sync()  # what earlier runs left is not this one's to write
    source, quantize = llama_source.source_folder(), stock.program("llama-quantize")
    environment = {**os.environ, "PYTHONPATH": str(source / "gguf-py")}
    whole = out / "F16.gguf"
    began = time.monotonic()
    convert = [sys.executable, str(source / "convert_hf_to_gguf.py"), str(plain)]
    convert += ["--outtype", "f16", "--outfile", str(whole)]
    spent = {"convert": child.run(convert, environment)}
    for kind in (kind for kind in types if kind != "F16"):
        spent[kind] = child.run([str(quantize), str(whole), str(out / f"{kind}.gguf"), kind])
    flushing = time.monotonic()
    for kind in types:
        flush(out / f"{kind}.gguf")
    ended = time.monotonic()
    return {
        "seconds": ended - began,
        "cpu_seconds": sum(s.cpu_seconds for s in spent.values()),
        "peak_mb": max(s.peak_bytes for s in spent.values()) / 1e6,
        "gib": sum(f.stat().st_size for f in out.iterdir()) / 2**30,
        **{f"seconds_{stage}": s.seconds for stage, s in spent.items()},
        "seconds_flush": ended - flushing,
    }


def flush(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
