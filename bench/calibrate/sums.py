"""The runner's sums, and the file that they become: llama.cpp's importance matrix as a GGUF.

Its layout is that of the pinned `llama-imatrix` (tools/imatrix/imatrix.cpp): for each matrix NAME,
in the order of the names, float32 `NAME.in_sum2` [columns], the sums of squares, and `NAME.counts`
[1], how many rows they are over; and which data they were collected on. Of ours is one key.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGUFReader, GGUFWriter
from numpy.typing import NDArray

from imp_deploy.errors import DeviceError
from imp_deploy.files import write_atomic

_HEADER: Final = b"imp-sums 1"
_TYPE: Final = "general.type"
_DATASETS: Final = "imatrix.datasets"
_CHUNKS: Final = "imatrix.chunk_count"
_CHUNK_SIZE: Final = "imatrix.chunk_size"
# Ours: names all that the sums depend on, so that the same work is not done twice.
_KEY: Final = "imp.calibration"


@dataclass(frozen=True)
class Sums:
    """Of one matrix: `squares` float64 [columns] over `rows` rows that it was multiplied by."""

    rows: int
    squares: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class About:
    """`key`: of all that the sums depend on; `datasets`: names, no paths; `questions` that were
    asked; `rows`: the tokens that were seen, the most of all matrices; `matrices`: how many."""

    key: str
    datasets: tuple[str, ...]
    questions: int
    rows: int
    matrices: int


def parse(content: bytes) -> dict[str, Sums]:
    """By name, what native/src/importance.h describes. Anything else is a `DeviceError`."""
    found: dict[str, Sums] = {}
    try:
        header, rest = content.split(b"\n", 1)
        if header != _HEADER:
            raise ValueError
        while rest:
            line, rest = rest.split(b"\n", 1)
            name, columns, rows = line.decode("ascii").split(" ")
            size = int(columns) * np.dtype("<f8").itemsize
            found[name] = Sums(int(rows), np.frombuffer(rest, "<f8", count=int(columns)))
            rest = rest[size:]
    except ValueError:
        found = {}
    if not found:
        raise DeviceError(
            "The runner's sums cannot be read; build it again with `imp-deploy build --force`."
        )
    return found


def write(
    path: Path, sums: Mapping[str, Sums], *, key: str, datasets: tuple[str, ...], questions: int
) -> About:
    """Writes `path`, whole or not at all."""
    about = About(
        key=key,
        datasets=datasets,
        questions=questions,
        rows=max(entry.rows for entry in sums.values()),
        matrices=len(sums),
    )
    with tempfile.TemporaryDirectory() as scratch:
        beside = Path(scratch) / "imatrix.gguf"
        writer: Any = GGUFWriter(beside, "")  # no architecture: llama-imatrix writes none
        writer.add_string(_TYPE, "imatrix")
        writer.add_array(_DATASETS, list(datasets))
        writer.add_uint32(_CHUNKS, questions)  # a chunk is what is decoded from an empty context
        writer.add_uint32(_CHUNK_SIZE, about.rows // questions)
        writer.add_string(_KEY, key)
        for name, entry in sorted(sums.items()):
            writer.add_tensor(f"{name}.in_sum2", entry.squares.astype(np.float32))
            writer.add_tensor(f"{name}.counts", np.array([entry.rows], np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        write_atomic(path, beside.read_bytes())
    return about


def read_about(path: Path) -> About | None:
    """What a file of ours says of itself; None for every other."""
    try:
        reader = GGUFReader(path)
        values = {name: reader.fields[name].contents() for name in (_KEY, _DATASETS, _CHUNKS)}
        counts = [t.data[0] for t in reader.tensors if t.name.endswith(".counts")]
        return About(
            key=str(values[_KEY]),
            datasets=tuple(values[_DATASETS]),
            questions=int(values[_CHUNKS]),
            rows=int(max(counts)),
            matrices=len(counts),
        )
    except Exception:  # whatever the package meets in a foreign file
        return None
