"""Reads an importance matrix in llama.cpp's GGUF form: how much each input of each weight matrix
matters, measured on real prompts (`imp-deploy calibrate`, or llama.cpp's `llama-imatrix`).

The weights are those that `llama-quantize --imatrix` makes of the same file: `load_imatrix` in
tools/quantize/quantize.cpp, `common_imatrix_load` in common/imatrix-loader.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader

from imp_deploy.convert import ggml
from imp_deploy.errors import BadInput
from imp_deploy.files import sha256_of

Array = np.ndarray[Any, np.dtype[Any]]

_SUMS, _COUNTS = ".in_sum2", ".counts"
_DATASETS, _CHUNKS = "imatrix.datasets", "imatrix.chunk_count"
_KEYS = (_DATASETS, _CHUNKS, "imatrix.chunk_size")
# Mean squares beyond come from no model's activations, and ggml's sums over a block of 256 such
# weights, times values of F16, would leave float32.
_LARGEST = 1e24
_LONGEST_TEXT = 127  # bytes; llama-quantize cuts the texts of its keys there
_CURE = "give a file that `imp-deploy calibrate` wrote, or llama.cpp's `llama-imatrix`"


@dataclass(frozen=True)
class Importance:
    """`weights`: by tensor name, mean squares of its inputs, float32 [columns]. `chunks`: how many
    pieces of text, or prompts, they were measured on; 0 where the file does not say."""

    path: Path
    sha256: str
    datasets: tuple[str, ...]
    chunks: int
    weights: Mapping[str, Array]

    def metadata(self) -> dict[str, Any]:
        """The keys that `llama-quantize` writes into the result. Of paths only the last part: what
        else they say is of the machine, not of the model."""
        values: dict[str, Any] = {"quantize.imatrix.file": _last_part(str(self.path))}
        if self.datasets:
            values["quantize.imatrix.dataset"] = _last_part(self.datasets[0])
        values["quantize.imatrix.entries_count"] = len(self.weights)
        if self.chunks > 0:
            values["quantize.imatrix.chunks_count"] = self.chunks
        return values


def read_importance(path: Path) -> Importance:
    """Reads the whole file, some megabytes. What `llama-quantize` would refuse, or silently take
    for something else, is bad input."""
    if not path.is_file():
        raise BadInput(f"{path} is no file; {_CURE}.")
    digest = sha256_of(path)
    if ggml.tensors_of(path) is None:
        raise BadInput(_no_gguf(path))
    try:
        reader = GGUFReader(path)
        keys = {key: field.contents() for key, field in reader.fields.items()}
        tensors = {t.name: t for t in reader.tensors}
    except Exception as error:  # whatever the package meets in a foreign file
        raise BadInput(f"{path} is not a whole GGUF file ({error}); {_CURE}.") from None
    if missing := [key for key in _KEYS if key not in keys]:
        raise BadInput(f"{path} is no importance matrix (it lacks {missing[0]}); {_CURE}.")
    datasets, chunks = keys[_DATASETS], keys[_CHUNKS]
    if not isinstance(datasets, list) or not all(isinstance(text, str) for text in datasets):
        raise BadInput(f"{path}: {_DATASETS} is no list of texts; {_CURE}.")
    if type(chunks) is not int or not 0 <= chunks < 2**31:
        raise BadInput(f"{path}: {_CHUNKS} is no number of chunks; {_CURE}.")
    return Importance(path, digest, tuple(datasets), chunks, _weights(path, tensors))


def _weights(path: Path, tensors: Mapping[str, Any]) -> dict[str, Array]:
    names = {n.removesuffix(s) for n in tensors for s in (_SUMS, _COUNTS) if n.endswith(s)}
    if not names:
        raise BadInput(f"{path} is an importance matrix without entries; {_CURE}.")
    weights = {}
    for name in sorted(names):
        pair = [tensors.get(name + suffix) for suffix in (_SUMS, _COUNTS)]
        if any(t is None or t.tensor_type != GGMLQuantizationType.F32 for t in pair):
            raise BadInput(
                f"{path}: the entry {name} has no sums or no counts of type F32; {_CURE}."
            )
        sums, counts = (np.array(t.data, dtype=np.float32).reshape(-1) for t in pair if t)
        weights[name] = _mean(path, name, sums, counts)
    return weights


def _mean(path: Path, name: str, sums: Array, counts: Array) -> Array:
    """An entry that nothing was counted for weighs everything alike, as in `llama-quantize`."""
    if counts.size != 1:
        raise BadInput(
            f"{path}: the entry {name} has {counts.size} counts, as of a model with experts, which "
            f"none of ours is; {_CURE}."
        )
    if not (np.isfinite(counts).all() and np.isfinite(sums).all()):
        raise BadInput(f"{path}: the entry {name} holds NaN or infinite values; {_CURE}.")
    if counts[0] < 0 or (sums < 0).any():
        raise BadInput(
            f"{path}: the entry {name} holds negative values, and no sum of squares is; {_CURE}."
        )
    count = np.float32(np.floor(counts[0].astype(np.float64) + 0.5))
    if count == 0:
        return np.ones(sums.size, dtype=np.float32)
    mean: Array = sums / count
    if mean.max(initial=0) > _LARGEST:
        raise BadInput(
            f"{path}: the entry {name} holds mean squares up to {float(mean.max()):.3g}, and no "
            f"activations are as large; {_CURE}."
        )
    return mean


def check_fit(importance: Importance, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """That every entry is of a matrix of this model; `shapes` by name, row-major."""
    weights, path = importance.weights, importance.path
    strange = [n for n in weights if len(shapes.get(n, ())) != 2]
    if strange:
        raise BadInput(
            f"{path} is of another model: {len(strange)} of its {len(weights)} entries are of no "
            f"matrix of this one (the first is {strange[0]}); give one that was measured on this "
            "checkpoint's own export."
        )
    for name, values in weights.items():
        if values.size != shapes[name][-1]:
            raise BadInput(
                f"{path} is of another model: its entry {name} has {values.size} columns, and the "
                f"tensor has {shapes[name][-1]}; give one that was measured on this checkpoint's "
                "own export."
            )


def _no_gguf(path: Path) -> str:
    if _is_legacy(path):
        return (
            f"{path} is an importance matrix in llama.cpp's older form; convert and save it with "
            f"`llama-imatrix --in-file {path.name} -o NEW.gguf`, then give that file."
        )
    return f"{path} is not a whole GGUF file; {_CURE}."


def _is_legacy(path: Path) -> bool:
    """The old form: the number of entries, then for each the length of its name, its name, …"""
    with path.open("rb") as file:
        start = file.read(264)
    if len(start) < 9:
        return False
    entries, length = struct.unpack_from("<ii", start)
    name = start[8 : 8 + max(0, min(length, 255))]
    return 0 < entries < 1 << 20 and 0 < length < 256 and name.isascii() and b"." in name


def _last_part(text: str) -> str:
    name = PureWindowsPath(PurePosixPath(text).name).name or text
    return name.encode("utf-8", "replace")[:_LONGEST_TEXT].decode("utf-8", "ignore")
