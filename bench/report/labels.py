"""Places for the labels of points in a picture whose width is not known when it is drawn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

WIDTHS: Final = (280.0, 340.0, 420.0, 520.0, 640.0, 800.0)
"""Pixels that the picture may be wide, from a phone's screen to a desk's."""

_CHARACTER, _LINE = 7.0, 13.0  # pixels, of the widest common font at 11 pixels
_ROOM = 9.0  # pixels from a point's middle to its label
_RADIUS = 6.0


@dataclass(frozen=True)
class Anchor:
    """A point: `across` from 0 (left) to 1 (right), `down` in pixels; `up` and `low` are the ends
    of its error bar."""

    text: str
    across: float
    down: float
    up: float
    low: float


@dataclass(frozen=True)
class Spot:
    """Where a label begins, ends or has its middle, in pixels from its point; `dy` is the middle of
    the line."""

    dx: float
    dy: float
    anchor: Literal["start", "middle", "end"]


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def places(
    points: Sequence[Anchor], height: float, path: Sequence[tuple[float, float]] = ()
) -> tuple[Spot, ...]:
    """One for each label, the nearest that at every width meets no label placed before, no point,
    and as little of error bars and of the line along `path` (across, down) as can be, and leaves
    the picture nowhere."""
    order = sorted(range(len(points)), key=lambda i: (points[i].down, points[i].across))
    found: dict[int, Spot] = {}
    for index in order:
        done = [(points[i], spot) for i, spot in found.items()]
        found[index] = min(
            _spots(height),
            key=lambda spot: (
                _cost(points[index], spot, points, done, height)
                + _crossed(points[index], spot, path)
            ),
        )
    return tuple(found[i] for i in range(len(points)))


def _spots(height: float) -> Iterator[Spot]:
    yield Spot(_ROOM, 0, "start")
    yield Spot(-_ROOM, 0, "end")
    for step in range(1, int(height / _LINE) + 1):
        for dy in (-_LINE * step, _LINE * step):
            yield Spot(_ROOM, dy, "start")
            yield Spot(-_ROOM, dy, "end")
            yield Spot(0, dy, "middle")


def _cost(
    point: Anchor,
    spot: Spot,
    points: Sequence[Anchor],
    done: Sequence[tuple[Anchor, Spot]],
    height: float,
) -> float:
    """In pixels of distance, with much more for what must not be."""
    cost = abs(spot.dy) + abs(spot.dx)
    for width in WIDTHS:
        box = _box(point, spot, width)
        if box.left < 0 or box.right > width or box.top < 0 or box.bottom > height:
            cost += 1e3
        cost += 1e3 * sum(box.meets(_box(other, held, width)) for other, held in done)
        for other in points:
            x = other.across * width
            if box.meets(
                _Box(x - _RADIUS, other.down - _RADIUS, x + _RADIUS, other.down + _RADIUS)
            ):
                cost += 300
            if box.meets(_Box(x - 2, other.up, x + 2, other.low)):
                cost += 6
    return cost


def _crossed(point: Anchor, spot: Spot, path: Sequence[tuple[float, float]]) -> float:
    cost = 0.0
    for width in WIDTHS:
        box = _box(point, spot, width)
        for (x1, y1), (x2, y2) in itertools.pairwise(path):
            line = _Box(x1 * width - 1, min(y1, y2) - 1, x2 * width + 1, max(y1, y2) + 1)
            cost += 5 if box.meets(line) else 0
    return cost


def _box(point: Anchor, spot: Spot, width: float) -> _Box:
    long = _CHARACTER * len(point.text)
    x = point.across * width + spot.dx
    left = {"start": x, "middle": x - long / 2, "end": x - long}[spot.anchor]
    middle = point.down + spot.dy
    return _Box(left, middle - _LINE / 2, left + long, middle + _LINE / 2)
