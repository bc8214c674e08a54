"""The share of the device's memory bandwidth that decoding reached, as bars from 0 to 100 %, or
beyond where caches held the weights."""

from __future__ import annotations

from collections.abc import Sequence

from imp_deploy.bench.report import bars, figures
from imp_deploy.bench.report.markup import Markup, percent_of, tag
from imp_deploy.bench.report.rows import Row

_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def chart(rows: Sequence[Row]) -> Markup:
    """A bar for each of `rows`, which have a share."""
    shares = [(row, row.share) for row in rows if row.share is not None]
    top = max(1.0, *(share for _, share in shares))
    ticks = _TICKS if top == 1 else figures.ticks(top, 4)
    drawn = [_row(row, share, ticks, top) for row, share in shares]
    return tag("div", *drawn, bars.axis(ticks, top, figures.percent), class_="bars share")


def _row(row: Row, share: float, ticks: Sequence[float], top: float) -> Markup:
    size = {"x": 0, "y": 0, "height": bars.HEIGHT}
    parts = (
        tag("rect", class_="track", width="100%", **size),
        tag("rect", class_="bar generate", width=percent_of(share, top), **size),
    )
    shown = figures.percent(share)
    title = f"{row.name}: {shown} of the memory bandwidth"
    return bars.labelled(row.name, shown, bars.bar(parts, title, ticks, top))
