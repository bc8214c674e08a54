"""Runs by turns, so that a machine that grows slower or faster does so for all rows alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Run = TypeVar("Run")


def order(names: Sequence[str], number: int) -> list[str]:
    """The rows of round `number` (from 0): every second round the other way round, so that no row
    always follows the same one."""
    return list(names) if number % 2 == 0 else list(reversed(names))


def by_turns(
    rows: Mapping[str, Callable[[], Run]],
    repetitions: int,
    *,
    after: Callable[[int, str, Run], None],
) -> dict[str, list[Run]]:
    """Runs every row once per round; `after` is told round, row and result, and may save it."""
    runs: dict[str, list[Run]] = {name: [] for name in rows}
    for number in range(repetitions):
        for name in order(list(rows), number):
            runs[name].append(rows[name]())
            after(number, name, runs[name][-1])
    return runs
