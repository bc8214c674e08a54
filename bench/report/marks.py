"""Which rows of a table are Pareto-optimal, for each set of questions on its own."""

from __future__ import annotations

from collections.abc import Sequence

from imp_deploy.bench.report.accuracy import Column
from imp_deploy.bench.report.pareto import optimal
from imp_deploy.bench.report.rows import Group, Row
from imp_deploy.bench.report.variants import Variant

STAR = "★"


def timed(group: Group) -> bool:
    """Whether T_total may decide: an emulator's times mean nothing, and medians over part of the
    repetitions may still move."""
    return group.standing == "measured"


def of_group(group: Group, column: Column) -> tuple[bool, ...]:
    """A mark for each row: by accuracy, T_total and size, or, where times do not count, by accuracy
    and size."""
    rows = group.rows
    return _marks([_point(row, column, with_time=timed(group)) for row in rows])


def of_variants(rows: Sequence[Variant], column: Column) -> tuple[bool, ...]:
    """A mark for each row, by accuracy and size."""
    return _marks([_point(row, column, with_time=False) for row in rows])


def _point(row: Row | Variant, column: Column, *, with_time: bool) -> tuple[float, ...] | None:
    """More is better. None for what has no score, or no time where there must be one."""
    answer = column.of(row.answers)
    if answer is None or answer.score is None:
        return None
    point = (answer.score.value, -float(row.size_bytes))
    if not with_time:
        return point
    assert isinstance(row, Row)
    total = row.statistics.get("T_total")
    return None if total is None else (*point, -total.median)


def _marks(points: Sequence[tuple[float, ...] | None]) -> tuple[bool, ...]:
    """One point alone has nothing to be better than, and gets no mark."""
    known = [point for point in points if point is not None]
    if len(known) < 2:
        return (False,) * len(points)
    best = iter(optimal(known))
    return tuple(point is not None and next(best) for point in points)
