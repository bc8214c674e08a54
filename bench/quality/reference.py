"""What a reference answered, kept compactly: computed once for all variants, in this call or later.

A folder `reference-KEY`, whose key is a hash over all that the answers depend on, holds a file per
batch: the distributions of all positions (see distribution.py) and the visual embeddings (see
embeddings.py; 2 bytes per number, once per picture and batch). A file that is damaged or of
something else is not used: its batch is asked again. The folder may be removed at any time.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imp_deploy.bench.quality import sealed, work
from imp_deploy.bench.quality.batches import Batch
from imp_deploy.bench.quality.distribution import Distribution, Row, compact
from imp_deploy.bench.quality.embeddings import Rounded, rounded
from imp_deploy.bench.quality.pairs import Pair
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.runner import Answer


@dataclass(frozen=True)
class Part:
    """A batch. `answers`: per question the distributions at each position of the answer, the one
    that chose the end-of-generation token included. `embeddings` by the picture's hash."""

    answers: tuple[tuple[Distribution, ...], ...]
    embeddings: dict[str, Rounded]

    @property
    def tokens(self) -> list[tuple[int, ...]]:
        return [tuple(entry.chosen for entry in answer) for answer in self.answers]

    @property
    def dropped_mass(self) -> float:
        return max(math.exp(entry.log_rest) for answer in self.answers for entry in answer)


@dataclass(frozen=True)
class Store:
    """The parts in `folder`, all of the same `key`."""

    folder: Path
    key: str

    def path(self, batch: Batch) -> Path:
        return self.folder / f"{batch.index:04}.part"

    def has(self, batch: Batch) -> bool:
        return sealed.read(self.path(batch), self._key(batch)) is not None

    def load(self, batch: Batch) -> Part:
        content = sealed.read(self.path(batch), self._key(batch))
        if content is None:
            raise BadInput(
                f"{self.path(batch)} was changed while it was in use; run the same command again."
            )
        return _unpack(batch, content)

    def save(self, batch: Batch, part: Part) -> None:
        sealed.write(self.path(batch), self._key(batch), _pack(part))

    def _key(self, batch: Batch) -> str:
        return f"{self.key} {batch.index}"


def read_part(pair: Pair, batch: Batch, answers: Sequence[Answer], folder: Path) -> Part:
    """From the raw files that the runner wrote about the reference."""
    found = []
    for place, answer in enumerate(answers):
        rows = read_logits(work.logits(folder, place), pair)
        found.append(tuple(compact(row) for row in rows))
        chosen = tuple(entry.chosen for entry in found[-1])
        if chosen[: len(answer.token_ids)] != answer.token_ids:
            raise DeviceError(
                f"The runner's logits do not fit its answer to {batch.asked[place].question.id}; "
                "build it again with `imp-deploy build --force`."
            )
    return Part(tuple(found), read_embeddings(pair, batch, folder))


def read_logits(path: Path, pair: Pair) -> NDArray[np.float32]:
    """[positions, vocabulary]"""
    return _raw(path, pair.vocabulary)


def read_embeddings(pair: Pair, batch: Batch, folder: Path) -> dict[str, Rounded]:
    """[visual tokens, hidden] by the picture's hash."""
    return {
        sha256: rounded(_raw(work.embeddings(folder, sha256), pair.hidden))
        for sha256 in batch.pictures
    }


def _raw(path: Path, width: int) -> NDArray[np.float32]:
    values = np.fromfile(path, np.float32)
    if not values.size or values.size % width:
        raise DeviceError(
            f"The runner wrote {values.size} numbers to {path.name}, no rows of {width}; build it "
            "again with `imp-deploy build --force`."
        )
    return values.reshape(-1, width)


def _pack(part: Part) -> bytes:
    flat = [entry for answer in part.answers for entry in answer]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        positions=np.array([len(answer) for answer in part.answers], np.uint32),
        kept=np.array([len(entry.ids) for entry in flat], np.uint32),
        log_sum=np.array([entry.log_sum for entry in flat], np.float64),
        log_rest=np.array([entry.log_rest for entry in flat], np.float64),
        ids=np.concatenate([entry.ids for entry in flat]),
        logits=np.concatenate([entry.logits for entry in flat]),
        embeddings=np.stack(list(part.embeddings.values())),
    )
    return buffer.getvalue()


def _unpack(batch: Batch, content: bytes) -> Part:
    """What `_pack` wrote: the seal has vouched for it."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise AssertionError(f"a sealed part cannot be read: {error}") from error
    ends = np.cumsum(arrays["kept"])
    ids: list[NDArray[np.uint32]] = np.split(arrays["ids"], ends[:-1])
    logits: list[Row] = np.split(arrays["logits"], ends[:-1])
    columns = zip(ids, logits, arrays["log_sum"], arrays["log_rest"], strict=True)
    flat = iter(
        [
            Distribution(ids=a, logits=b, log_sum=float(c), log_rest=float(d))
            for a, b, c, d in columns
        ]
    )
    answers = tuple(tuple(next(flat) for _ in range(count)) for count in arrays["positions"])
    return Part(answers, dict(zip(batch.pictures, arrays["embeddings"], strict=True)))
