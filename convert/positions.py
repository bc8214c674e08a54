"""The position table of another resolution, as transformers' SigLIP and CLIP interpolate it."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]
_A = -0.75  # PyTorch's bicubic kernel (`torch.nn.functional.interpolate`); Pillow's is -0.5


def interpolate(table: Array, old: int, new: int) -> Array:
    """`table` [extra + old * old, width] -> [extra + new * new, width], float32, bicubic with
    `align_corners=False`, no antialiasing, borders repeated. Rows in front of the grid's, which are
    a class token's, stay as they are."""
    if old == new:
        return table
    weights = _weights(old, new)
    extra = len(table) - old * old
    grid = table[extra:].reshape(old, old, -1).astype(np.float64)
    rows = np.einsum("ij,jkc->ikc", weights, grid)
    both = np.einsum("ij,kjc->kic", weights, rows)
    patches = both.reshape(new * new, -1).astype(np.float32)
    return np.concatenate([table[:extra], patches])


def _weights(old: int, new: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """[new, old]: what each old position gives to each new one."""
    weights = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        first = int(np.floor(centre))
        for tap in range(first - 1, first + 3):
            weights[i, min(max(tap, 0), old - 1)] += _kernel(abs(centre - tap))
    return weights


def _kernel(x: float) -> float:
    if x <= 1:
        return ((_A + 2) * x - (_A + 3)) * x * x + 1
    if x < 2:
        return ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return 0.0
