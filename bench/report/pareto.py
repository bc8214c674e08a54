"""Which of several variants no other one makes pointless."""

from __future__ import annotations

from collections.abc import Sequence


def optimal(points: Sequence[tuple[float, ...]]) -> tuple[bool, ...]:
    """For each point, whether no other is at least as good in every coordinate and better in one;
    more is better, so that times and sizes come negative. Equal points are optimal together."""
    return tuple(not any(_dominates(other, point) for other in points) for point in points)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
