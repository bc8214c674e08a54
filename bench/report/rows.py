"""What a report shows of each result, and which results may stand in one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from imp_deploy.bench.report.accuracy import Answer, Subject, subject
from imp_deploy.bench.report.hardware import hardware
from imp_deploy.bench.report.paper import PaperRow, counterpart
from imp_deploy.bench.report.read import Loaded
from imp_deploy.results import (
    METRICS,
    Result,
    Statistics,
    bandwidth_share,
    protocol_marks,
    summary,
)

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Row:
    """One result: the statistics of its measured samples and, where there is one, the paper's row.
    `statistics` is empty for a result without measured samples; `dated`: its group holds another
    measurement of the same variant; `answers`: the evaluations of the very same files."""

    file: str
    result: Result
    dated: bool = False
    answers: tuple[Answer, ...] = ()

    @cached_property
    def statistics(self) -> dict[str, Statistics]:
        return summary(self.result.measured)

    @cached_property
    def paper(self) -> PaperRow | None:
        return counterpart(self.result)

    @cached_property
    def share(self) -> float | None:
        return bandwidth_share(self.result)

    @property
    def subject(self) -> Subject:
        return subject(self.result.bundle, self.result.runner)

    @property
    def model(self) -> str:
        return f"{self.result.bundle.name}@{self.result.variant.resolution}"

    @property
    def variant(self) -> str:
        bits = f"{self.result.variant.bits} bits"
        vision = self.result.variant.vision_bits
        tower = f" (vision {vision})" if vision != 16 else ""
        return f"{self.model}, {bits}{tower}{protocol_marks(self.result)}"

    @property
    def marks(self) -> tuple[str, ...]:
        """What of its protocol must stand beside its figures: "text cached", "tuned"."""
        return tuple(mark for mark in protocol_marks(self.result).split(", ") if mark)

    @property
    def name(self) -> str:
        """The variant with what must not be overlooked: emulated, incomplete, which of two."""
        before = "emulated: " if self.result.device.emulated else ""
        date = f", {self.date}" if self.dated else ""
        return before + self.variant + date + ("" if self.result.complete else f", {self.samples}")

    @property
    def size_bytes(self) -> int:
        return sum(file.bytes for file in self.result.bundle.files)

    @property
    def hardware(self) -> str:
        name, soc = hardware(self.result.device)
        return f"{name} ({soc})" if soc else name

    @property
    def date(self) -> str:
        """When it was measured, to the minute, UTC."""
        return self.result.started[:16].replace("T", " ")

    @property
    def count(self) -> str:
        """`5`, or `3 of 5`."""
        measured = len(self.result.measured)
        whole = self.result.complete
        return str(measured) if whole else f"{measured} of {self.result.protocol.repetitions}"

    @property
    def samples(self) -> str:
        """`5`, or `3 of 5, incomplete`."""
        return self.count if self.result.complete else f"{self.count}, incomplete"

    @property
    def codes(self) -> tuple[str, ...]:
        """Warnings and failures as codes, each once."""
        failures = (f"failed: {f.kind}" for f in self.result.failures)
        return tuple(dict.fromkeys([*(w.code for w in self.result.warnings), *failures]))

    def ratio(self, metric: str) -> float | None:
        """Ours over the paper's."""
        if self.paper is None or metric not in self.statistics:
            return None
        return self.statistics[metric].median / self.paper.metrics()[metric]


@dataclass(frozen=True)
class Group:
    """Rows that may be compared: the same device, runner, weights and protocol, all of them real or
    emulated, complete or not."""

    number: int
    rows: tuple[Row, ...]

    @property
    def first(self) -> Result:
        return self.rows[0].result

    @property
    def emulated(self) -> bool:
        return self.first.device.emulated

    @property
    def complete(self) -> bool:
        return self.first.complete

    @property
    def hardware(self) -> str:
        return self.rows[0].hardware

    @property
    def days(self) -> str:
        """The day on which it was measured, or the first and the last."""
        days = sorted({row.date[:10] for row in self.rows})
        return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"

    @property
    def standing(self) -> str:
        """Which section it belongs to."""
        if self.emulated:
            return "emulated" if self.complete else "emulated and incomplete"
        return "measured" if self.complete else "incomplete"


def group(
    loaded: Iterable[Loaded], answers: Mapping[Subject, tuple[Answer, ...]] | None = None
) -> tuple[Group, ...]:
    """Groups in the order: complete, incomplete, emulated; rows as in the paper's table, by
    resolution and bits downwards, and the older of two measurements first. Each row gets the
    `answers` of its files."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for item in loaded:
        row = Row(str(item.path), item.result)
        row = replace(row, answers=(answers or {}).get(row.subject, ()))
        found.setdefault(_key(item.result), []).append(row)
    ordered = sorted(found.items(), key=lambda e: (e[0][:2], min(r.date for r in e[1])))
    return tuple(
        Group(number, _dated(sorted(rows, key=_place)))
        for number, (_, rows) in enumerate(ordered, start=1)
    )


def _key(result: Result) -> tuple[Any, ...]:
    return (result.device.emulated, not result.complete, *identity(result).values())


def _dated(rows: list[Row]) -> tuple[Row, ...]:
    variants = [row.variant for row in rows]
    return tuple(replace(row, dated=variants.count(row.variant) > 1) for row in rows)


def _place(row: Row) -> tuple[Any, ...]:
    variant = row.result.variant
    name = row.result.bundle.name
    return (name, -variant.resolution, -variant.bits, -variant.vision_bits, row.result.started)


def identity(result: Result) -> dict[str, Any]:
    """What must be equal in one comparison, by the words in which a report says what differs.
    Tuned results are equal in being tuned: each variant has settings of its own then."""
    asked = result.protocol
    protocol = {
        f"protocol: {field.name.replace('_', ' ')}": getattr(asked, field.name)
        for field in dataclasses.fields(asked)
    }
    if asked.settings is not None:
        tuned = dict.fromkeys(("threads", "cpu mask", "settings"), "tuned")
        protocol |= {f"protocol: {name}": value for name, value in tuned.items()}
    return {
        "device": " ".join(hardware(result.device)),
        "serial": result.device.serial,
        "system": result.device.os,
        "build fingerprint": result.device.fingerprint,
        "runner target": result.runner.target,
        "llama.cpp": result.runner.llama_cpp,
        "build flags": result.runner.build_flags,
        "runner SHA-256": result.runner.sha256,
        "weights SHA-256": result.bundle.weights_sha256,
        **protocol,
    }


def differences(one: Group, other: Group) -> tuple[tuple[str, str, str], ...]:
    """What keeps two groups apart: name, value in `one`, value in `other`."""
    left, right = identity(one.first), identity(other.first)
    return tuple((k, str(left[k]), str(right[k])) for k in left if left[k] != right[k])


def record(row: Row, number: int) -> dict[str, Value]:
    """A row as flat values, for CSV and JSON; bytes, seconds and tokens per second."""
    result = row.result
    values: dict[str, Value] = {
        "group": number,
        "emulated": result.device.emulated,
        "complete": result.complete,
        "model": result.bundle.name,
        "resolution": result.variant.resolution,
        "bits": result.variant.bits,
        "vision_bits": result.variant.vision_bits,
        "size_bytes": row.size_bytes,
        "hardware": row.hardware,
        "soc": result.device.soc,
        "serial": result.device.serial,
    }
    for metric in METRICS:
        statistics = row.statistics.get(metric)
        for field in dataclasses.fields(Statistics):
            value = None if statistics is None else getattr(statistics, field.name)
            values[f"{metric}_{field.name}"] = value
    for metric in METRICS:
        values[f"paper_{metric}"] = None if row.paper is None else row.paper.metrics()[metric]
        values[f"ratio_{metric}"] = row.ratio(metric)
    return {
        **values,
        "samples": len(result.measured),
        "repetitions": result.protocol.repetitions,
        "failures": " ".join(f.kind for f in result.failures),
        "warnings": " ".join(dict.fromkeys(w.code for w in result.warnings)),
        "bandwidth_bytes_per_second": result.bandwidth_bytes_per_second or None,
        "bandwidth_share": row.share,
        "peak_rss_bytes": max((s.peak_rss_bytes for s in result.measured), default=None),
        "protocol": result.protocol.name,
        "cached_text": result.protocol.cached_text,
        "tuned": result.protocol.settings is not None,
        "started": result.started,
        "run": result.run,
        "runner_sha256": result.runner.sha256,
        "weights_sha256": result.bundle.weights_sha256,
        "file": row.file,
    }
