"""Headers of safetensors files. Validation is the safetensors library's; offsets are ours,
because the library maps whole files into memory and we read rows."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from imp_deploy.convert.tensor import ELEMENT_BYTES, Tensor
from imp_deploy.errors import BadInput


def read_header(path: Path) -> list[Tensor]:
    """Every tensor in the file, whatever its type; unusable types are refused when mapped."""
    try:
        with safe_open(path, framework="np"):  # type: ignore[no-untyped-call]
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(
            f"{path} is not a whole safetensors file ({error}); download it again."
        ) from None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length), object_pairs_hook=_no_duplicates(path))
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


def _no_duplicates(path: Path):  # type: ignore[no-untyped-def]
    def check(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            double = next(n for n in names if names.count(n) > 1)
            raise BadInput(
                f"{path} holds the tensor {double} twice; download the file again."
            )
        return dict(pairs)

    return check


def _dtype(path: Path, name: str, dtype: str) -> str:
    if dtype not in ELEMENT_BYTES and not dtype.startswith(("I", "U", "BOOL")):
        raise BadInput(
            f"{path}: the tensor {name} has type {dtype}; export takes "
            f"{', '.join(ELEMENT_BYTES)}, so save the checkpoint in one of these."
        )
    return dtype
