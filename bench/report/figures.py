"""Numbers for people: how many digits, which unit, what stands for a missing one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

NONE = "–"


def places(values: Iterable[float]) -> int:
    """Decimals for one column, so that its figures line up: three significant digits for the
    smallest, two decimals at least, as in the paper's table, four at most, and none where all
    values are in the thousands."""
    sizes = [abs(value) for value in values if value]
    if not sizes:
        return 2
    smallest = min(sizes)
    if smallest >= 1000:
        return 0
    return max(2, min(4, 2 - math.floor(math.log10(smallest))))


def figure(value: float | None, decimals: int) -> str:
    return NONE if value is None else f"{value:.{decimals}f}"


def ratio(value: float | None) -> str:
    """Ours over the paper's, as a factor."""
    return NONE if value is None else f"{value:.2f}×"


def percent(share: float | None) -> str:
    return NONE if share is None else f"{share * 100:.0f} %"


def size(count: int) -> str:
    """Bytes with their unit."""
    for unit, one in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= one:
            return f"{count / one:.2f} {unit}"
    return f"{count} B"


def gigahertz(khz: int) -> str:
    return f"{khz / 1e6:.2f}\u00a0GHz"


def rate(per_second: float) -> str:
    """Bytes per second in GB/s, powers of ten, as memory is advertised."""
    return f"{per_second / 1e9:.1f} GB/s" if per_second >= 1e8 else f"{per_second / 1e6:.1f} MB/s"


def ticks(top: float, most: int) -> tuple[float, ...]:
    """Round values from 0 to at most `top`, `most` steps or fewer: 1, 2 or 5 times a power of
    ten apart."""
    if top <= 0:
        return (0.0,)
    step = 10 ** math.floor(math.log10(top / most))
    step = next(step * factor for factor in (1, 2, 5, 10) if top / (step * factor) <= most)
    return tuple(step * i for i in range(int(top / step + 1e-9) + 1))


def span(values: Iterable[float], *, from_zero: bool = False) -> tuple[float, float]:
    """The range of an axis: the values with some room around them; from 0 where that is asked for
    and the smallest value is less than half of the largest."""
    known = list(values)
    low, high = min(known), max(known)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return (0.0 if from_zero and low < 0.5 * high else low - room), high + room


def between(low: float, high: float, most: int) -> tuple[float, ...]:
    """Round values from `low` to `high`, at most `most` steps of 1, 2 or 5 times a power of ten."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step = next(step * f for f in (1, 2, 5, 10) if (high - low) / (step * f) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(step * i for i in range(first, last + 1))


def scaled(counts: Iterable[int]) -> tuple[str, int]:
    """The unit for sizes on one axis, and how many bytes it has."""
    top = max(counts)
    units = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
    return next(((name, one) for name, one in units if top >= one), ("B", 1))


def tick_text(value: float) -> str:
    return f"{value:.6g}"


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
