"""Whether two GGUF files hold the same language model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gguf import GGUFReader, ReaderTensor
from numpy.typing import NDArray

_FUSED = re.compile(r"(blk\.\d+\.attn_)qkv(\..*)")


def differences(fused: Path, other: Path) -> tuple[list[str], int]:
    """The names of the tensors of the file `fused` that `other` has not, or with other bytes; and
    how many there are. Where `fused` has one `attn_qkv`, `other` may have its three parts. Tensors
    that only `other` has are named too."""
    mine = {t.name: t for t in GGUFReader(fused).tensors}
    theirs = {t.name: t for t in GGUFReader(other).tensors}
    different, seen = [], set()
    for name, tensor in mine.items():
        parts = list(_parts(name, theirs))
        seen |= set(parts)
        if not parts or not _equal(tensor, [theirs[part] for part in parts]):
            different.append(name)
    return different + sorted(theirs.keys() - seen), len(mine)


def _parts(name: str, theirs: dict[str, ReaderTensor]) -> Iterator[str]:
    fused = _FUSED.fullmatch(name)
    names = [name]
    if fused and name not in theirs:
        names = [f"{fused[1]}{part}{fused[2]}" for part in "qkv"]
    if all(part in theirs for part in names):
        yield from names


def _equal(tensor: ReaderTensor, parts: list[ReaderTensor]) -> bool:
    if any(part.tensor_type != tensor.tensor_type for part in parts):
        return False
    whole: NDArray[np.uint8] = tensor.data.view(np.uint8).reshape(-1)
    others = [part.data.view(np.uint8).reshape(-1) for part in parts]
    if whole.size != sum(other.size for other in others):
        return False
    start = 0
    for other in others:
        if not np.array_equal(whole[start : start + other.size], other):
            return False
        start += other.size
    return True
