"""What a variant makes of the reference's answers, batch by batch; resumable."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy import record
from imp_deploy.bench.quality import sealed, work
from imp_deploy.bench.quality.batches import Batch
from imp_deploy.bench.quality.distribution import Distribution, diverge
from imp_deploy.bench.quality.embeddings import Cosines, cosines
from imp_deploy.bench.quality.pairs import Pair
from imp_deploy.bench.quality.reference import Part, read_embeddings, read_logits
from imp_deploy.errors import DeviceError
from imp_deploy.quality import Item


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A batch: its questions in its order, and the most of the reference's probability that a
    position has only as a sum."""

    items: tuple[Item, ...]
    dropped_mass: float


def compared(pair: Pair, batch: Batch, part: Part, folder: Path) -> Compared:
    """From the raw files that the runner wrote about the variant."""
    now = read_embeddings(pair, batch, folder)
    likeness = {sha256: cosines(part.embeddings[sha256], now[sha256]) for sha256 in now}
    items = [
        _item(pair, batch, place, answer, work.logits(folder, place), likeness)
        for place, answer in enumerate(part.answers)
    ]
    return Compared(items=tuple(items), dropped_mass=part.dropped_mass)


def _item(
    pair: Pair,
    batch: Batch,
    place: int,
    answer: Sequence[Distribution],
    path: Path,
    likeness: dict[str, Cosines],
) -> Item:
    asked = batch.asked[place]
    rows = read_logits(path, pair)
    if len(rows) != len(answer):
        raise DeviceError(
            f"The runner gave {len(rows)} distributions for the {len(answer)} tokens of "
            f"{asked.question.id}; build it again with `imp-deploy build --force`."
        )
    found = [diverge(entry, row) for entry, row in zip(answer, rows, strict=True)]
    return Item(
        id=asked.question.id,
        kl=tuple(entry.kl for entry in found),
        agree=tuple(entry.agree for entry in found),
        reference_log_p=tuple(entry.reference_log_p for entry in found),
        log_p=tuple(entry.log_p for entry in found),
        worst_cosine=likeness[asked.sha256].worst,
        mean_cosine=likeness[asked.sha256].mean,
    )


@dataclass(frozen=True)
class Finished:
    """The batches of one variant that are done, beside the reference's parts, until the variant's
    result is written. `key`: of the reference and of the variant's files."""

    folder: Path
    key: str

    def path(self, batch: Batch) -> Path:
        return self.folder / f"{self.key[-16:]}-{batch.index:04}.compared"

    def load(self, batch: Batch) -> Compared | None:
        content = sealed.read(self.path(batch), self._key(batch))
        if content is None:
            return None
        return record.parse(Compared, json.loads(content), str(self.path(batch)), "remove it")

    def save(self, batch: Batch, found: Compared) -> None:
        content = json.dumps(dataclasses.asdict(found)).encode()
        sealed.write(self.path(batch), self._key(batch), content)

    def _key(self, batch: Batch) -> str:
        return f"{self.key} {batch.index}"
