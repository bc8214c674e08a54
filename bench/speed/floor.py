"""What an export cannot be faster than on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gguf import GGUFReader

from imp_deploy.bench.speed import disk


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Seconds. `write`: the bytes over what the disk takes. The rest is work of the cores, in
    seconds of one: reading the page cache, quantizing with ggml's kernels, and SHA-256 of the
    weights and of every output file, which the bundle's manifest holds. `cores` share it; the disk
    works beside them."""

    read: float
    write: float
    quantize: float
    hash: float
    cores: int

    @property
    def seconds(self) -> float:
        return max(self.write, (self.read + self.quantize + self.hash) / self.cores)

    def sentence(self, row: str, measured: float) -> str:
        return (
            f"Floor of `{row}`: {self.seconds:.1f} s, the larger of writing ({self.write:.1f} s at "
            f"the rate of the disk) and the work of {self.cores} cores (reading {self.read:.1f}, "
            f"quantizing {self.quantize:.1f}, SHA-256 {self.hash:.1f} core-seconds); measured: "
            f"{measured / self.seconds:.2f} times that."
        )


def floor_of(checkpoint: Path, out: Path) -> Floor:
    """The floor of the export of `checkpoint` that lies in `out`, by rates measured now."""
    read = sum(f.stat().st_size for f in checkpoint.glob("*.safetensors"))
    files = list(out.glob("*.gguf"))
    written = sum(f.stat().st_size for f in files)
    rates = {kind: disk.quantize_rate(number) for kind, number in disk.TYPES.items()}
    quantize = 0.0
    for kind, count in quantized(files).items():
        quantize += count / rates[kind]
    return Floor(
        read=read / disk.warm(checkpoint),
        write=written / disk.write_rate(out),
        quantize=quantize,
        hash=(read + written) / disk.hash_rate(),
        cores=len(os.sched_getaffinity(0)),
    )


def quantized(files: list[Path]) -> dict[str, int]:
    """Parameters by quantized type, over all `files`."""
    counts: dict[str, int] = {}
    for file in files:
        for tensor in GGUFReader(file).tensors:
            kind = tensor.tensor_type.name
            if kind in disk.TYPES:
                counts[kind] = counts.get(kind, 0) + int(tensor.n_elements)
    return counts
