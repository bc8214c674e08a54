"""The variants of which there are evaluations or measurements of quality, whatever was timed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from imp_deploy.bench.report.accuracy import Answer, Subject
from imp_deploy.bench.report.distance import Distance
from imp_deploy.results import BundleRecord, VariantRecord


@dataclass(frozen=True)
class Variant:
    """`alike`: its table holds other files of the same name, bits and resolution."""

    subject: Subject
    bundle: BundleRecord
    variant: VariantRecord
    answers: tuple[Answer, ...]
    distances: tuple[Distance, ...]
    alike: bool = False

    @property
    def model(self) -> str:
        return f"{self.bundle.name}@{self.variant.resolution}"

    @property
    def name(self) -> str:
        vision = self.variant.vision_bits
        text = f"{self.model}, {self.variant.bits} bits"
        text += f" (vision {vision})" if vision != 16 else ""
        return text + (f", {self.apart}" if self.alike else "")

    @property
    def apart(self) -> str:
        """What tells it from others of its name: the beginnings of its files' SHA-256."""
        return f"files {' '.join(sha256[:6] for _, sha256 in self.subject[1])}"

    @property
    def size_bytes(self) -> int:
        return sum(file.bytes for file in self.bundle.files)

    @property
    def places(self) -> tuple[str, ...]:
        """Where its answers were computed."""
        return tuple(dict.fromkeys(answer.place for answer in self.answers))


@dataclass(frozen=True)
class Family:
    """Variants made of the same weights and run by the same llama.cpp."""

    number: int
    rows: tuple[Variant, ...]

    @property
    def title(self) -> str:
        names = dict.fromkeys(row.bundle.name for row in self.rows)
        return ", ".join(names)

    @property
    def weights(self) -> str:
        return self.rows[0].bundle.weights_sha256

    @property
    def llama_cpp(self) -> str:
        return self.rows[0].subject[0]


def families(
    answers: Mapping[Subject, tuple[Answer, ...]], distances: Mapping[Subject, tuple[Distance, ...]]
) -> tuple[Family, ...]:
    """Rows as in the paper's table, by resolution and bits downwards."""
    found: dict[tuple[str, str], list[Variant]] = {}
    for subject in dict.fromkeys([*answers, *distances]):
        made = _variant(subject, answers.get(subject, ()), distances.get(subject, ()))
        found.setdefault((made.bundle.weights_sha256, subject[0]), []).append(made)
    ordered = sorted(found.values(), key=lambda rows: min(map(_place, rows)))
    return tuple(
        Family(number, _told_apart(sorted(rows, key=_place)))
        for number, rows in enumerate(ordered, start=1)
    )


def _variant(
    subject: Subject, answers: tuple[Answer, ...], distances: tuple[Distance, ...]
) -> Variant:
    held = answers[0].evaluation if answers else distances[0].quality
    return Variant(subject, held.bundle, held.variant, answers, distances)


def _place(row: Variant) -> tuple[str, int, int, int, Subject]:
    variant = row.variant
    return (
        row.bundle.name,
        -variant.resolution,
        -variant.bits,
        -variant.vision_bits,
        row.subject,
    )


def _told_apart(rows: Iterable[Variant]) -> tuple[Variant, ...]:
    every = list(rows)
    names = [row.name for row in every]
    return tuple(replace(row, alike=names.count(row.name) > 1) for row in every)
