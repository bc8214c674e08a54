"""What the device's sensors said over a whole run, put into one time line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from imp_deploy.bench.report.rows import Row
from imp_deploy.results import Core, Sample, State

T = TypeVar("T")
Point = tuple[float, float]
"""Seconds since the first repetition began, and a value."""

_MOST_CLUSTERS = 4
_MOST_POINTS = 160  # per repetition and line; more than that no screen shows


@dataclass(frozen=True)
class Cluster:
    """Cores that share a maximum clock; `cores` are places in a row of clocks."""

    max_khz: int
    cores: tuple[int, ...]


@dataclass(frozen=True)
class Repetition:
    """`begin` and `end` in seconds since the first repetition of the run began."""

    variant: str
    begin: float
    end: float
    sample: Sample


def repetitions(rows: Iterable[Row]) -> tuple[Repetition, ...]:
    """All samples of the rows in the order in which they ran. The clock is the device's time since
    its start, which nobody sets; where it falls back, the device was started again, and what
    follows is put behind what was before."""
    ordered = sorted(
        ((epoch, s.before.uptime_seconds, row.name, s) for row in rows for epoch, s in _boots(row)),
        key=lambda entry: entry[:3],
    )
    found: list[Repetition] = []
    last_epoch, shift = -1, 0.0
    for epoch, uptime, variant, sample in ordered:
        if epoch != last_epoch:
            last_epoch = epoch
            shift = max((r.end for r in found), default=0.0) - uptime
        end = max(uptime, sample.after.uptime_seconds)
        found.append(Repetition(variant, uptime + shift, end + shift, sample))
    return tuple(found)


def _boots(row: Row) -> Iterator[tuple[int, Sample]]:
    """Each sample with the number of times that the device was started again before it."""
    count, last = 0, float("-inf")
    for sample in sorted(row.result.samples, key=lambda s: s.round):
        if sample.before.uptime_seconds < last:
            count += 1
        last = sample.before.uptime_seconds
        yield count, sample


def clusters(cores: Sequence[Core]) -> tuple[Cluster, ...]:
    """Fastest first. A PC's cores may each have their own maximum; they count as one cluster."""
    clocks = sorted({core.max_khz for core in cores}, reverse=True)
    if len(clocks) > _MOST_CLUSTERS:
        return (Cluster(clocks[0], tuple(range(len(cores)))),)
    return tuple(
        Cluster(clock, tuple(i for i, core in enumerate(cores) if core.max_khz == clock))
        for clock in clocks
    )


def clocks(repetition: Repetition, cluster: Cluster) -> tuple[Point, ...]:
    """The highest clock of the cluster's cores, in kHz; moments without one are left out."""
    sample = repetition.sample
    rows = _moments(repetition, lambda state: state.clocks_khz, sample.trace.clocks_khz)
    points = (
        (when, float(max((row[i] for i in cluster.cores if i < len(row)), default=0)))
        for when, row in rows
    )
    return thinned([point for point in points if point[1] > 0])


def sensors(repetitions: Iterable[Repetition]) -> tuple[str, ...]:
    names = (
        name
        for r in repetitions
        for name in (*r.sample.before.celsius, *r.sample.trace.celsius, *r.sample.after.celsius)
    )
    return tuple(dict.fromkeys(names))


def celsius(repetition: Repetition, sensor: str) -> tuple[Point, ...]:
    column: Sequence[float | None] = repetition.sample.trace.celsius.get(sensor, ())
    values = _moments(repetition, lambda state: state.celsius.get(sensor), column)
    return thinned([(when, value) for when, value in values if value is not None])


def hottest(repetition: Repetition) -> tuple[Point, ...]:
    """At each moment the highest of all sensors."""
    columns = repetition.sample.trace.celsius.values()
    highest: list[float | None] = [max(values) for values in zip(*columns, strict=False)]
    values = _moments(repetition, lambda s: max(s.celsius.values(), default=None), highest)
    return thinned([(when, value) for when, value in values if value is not None])


def _moments(
    repetition: Repetition, of: Callable[[State], T], column: Sequence[T]
) -> Iterator[tuple[float, T]]:
    """The value before, those of the trace, and the one after."""
    sample = repetition.sample
    yield repetition.begin, of(sample.before)
    for seconds, value in zip(sample.trace.seconds, column, strict=False):
        yield min(repetition.begin + seconds, repetition.end), value
    yield repetition.end, of(sample.after)


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Few enough points to draw; of every stretch the lowest and the highest stay."""
    if len(points) <= _MOST_POINTS:
        return tuple(points)
    stretch = -(-len(points) * 2 // _MOST_POINTS)
    kept: list[Point] = []
    for begin in range(0, len(points), stretch):
        part = points[begin : begin + stretch]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        kept += sorted(ends)
    return tuple(kept)
