"""Headers of safetensors files. Validation is the safetensors library's; offsets are ours,
because the library maps whole files into memory and we read rows."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from imp_deploy.convert.tensor import ELEMENT_BYTES, Tensor
from imp_deploy.errors import BadInput


def read_header(path: Path) -> list[Tensor]:
    """Every tensor in the file, whatever its type; unusable types are refused when mapped."""
    if path.exists() and not path.is_file():  # a pipe would never end
        raise BadInput(f"{path} is not a regular file; put the weights themselves there.")
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            with safe_open(path, framework="np"):
                pass
            header = json.loads(file.read(length), object_pairs_hook=partial(_unique, path))
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({error.strerror or error}); check its rights and its disk."
        ) from None
    except (SafetensorError, ValueError) as error:
        raise BadInput(
            f"{path} is not a whole safetensors file ({error}); download it again."
        ) from None
    header.pop("__metadata__", None)
    return [
        Tensor(
            name=name,
            path=path,
            dtype=_dtype(path, name, entry["dtype"]),
            shape=tuple(entry["shape"]),
            offset=8 + length + entry["data_offsets"][0],
        )
        for name, entry in header.items()
    ]


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(name for name, _ in pairs)
    double, count = counts.most_common(1)[0] if counts else ("", 1)
    if count > 1:
        raise BadInput(f"{path} holds the tensor {double} {count} times; download the file again.")
    return dict(pairs)


def _dtype(path: Path, name: str, dtype: str) -> str:
    if dtype not in ELEMENT_BYTES and not dtype.startswith(("I", "U", "BOOL")):
        raise BadInput(
            f"{path}: the tensor {name} has type {dtype}; export takes "
            f"{', '.join(ELEMENT_BYTES)}, so save the checkpoint in one of these."
        )
    return dtype
