"""Whether a candidate costs accuracy: its greedy answer and its logits beside the default's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Difference:
    """`first`: the number, from 1, of the first token that differs; None: all are the same.
    `logits`: the largest absolute difference up to there, None where it is no number."""

    first: int | None
    logits: float | None


def compare(
    tokens: tuple[int, ...], logits: Path, other_tokens: tuple[int, ...], other_logits: Path
) -> Difference:
    """Answers of the same length and their logits, files of float32 [tokens, vocabulary]. Behind
    the first token that differs the logits are of another text, and say nothing."""
    pairs = enumerate(zip(tokens, other_tokens, strict=True), start=1)
    first = next((number for number, (one, other) in pairs if one != other), None)
    rows = first or len(tokens)
    one, two = (
        np.memmap(path, "<f4", mode="r").reshape(len(tokens), -1) for path in (logits, other_logits)
    )
    with np.errstate(invalid="ignore"):  # of infinities
        largest = max(
            float(np.max(np.abs(one[row] - two[row]), initial=0.0)) for row in range(rows)
        )
    return Difference(first, largest if math.isfinite(largest) else None)
