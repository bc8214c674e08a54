"""The share of the device's memory bandwidth that decoding reached, as bars from 0 to 100 %."""

from __future__ import annotations

from collections.abc import Sequence

from imp_deploy.bench.report import figures
from imp_deploy.bench.report.markup import Markup, percent_of, tag, together, words
from imp_deploy.bench.report.rows import Row

_LINE, _BAR_TOP, _BAR_HEIGHT, _AXIS = 56, 20, 22, 24  # as in the chart of phases


def chart(rows: Sequence[Row], identifier: str, name: str) -> Markup:
    """An SVG of `rows`, which have a share."""
    shares = [(row, row.share) for row in rows if row.share is not None]
    top = max(1.0, *(share for _, share in shares))
    height = _LINE * len(shares) + _AXIS
    text = "; ".join(f"{row.name}: {figures.percent(share)}" for row, share in shares)
    drawn = [_bar(row, share, top, i * _LINE) for i, (row, share) in enumerate(shares)]
    return tag(
        "svg",
        tag("title", words(f"Memory bandwidth on {name}"), id=f"{identifier}-t"),
        tag("desc", words(f"Share reached by decoding. {text}."), id=f"{identifier}-d"),
        *(_grid(tick, top, height - _AXIS) for tick in (0.0, 0.25, 0.5, 0.75, 1.0)),
        *drawn,
        class_="chart",
        role="img",
        aria_labelledby=f"{identifier}-t {identifier}-d",
        width="100%",
        height=height,
    )


def _grid(tick: float, top: float, end: int) -> Markup:
    x = percent_of(tick, top)
    anchor = "start" if tick == 0 else "end" if tick > 0.96 * top else "middle"
    return together(
        tag("line", class_="grid", x1=x, x2=x, y1=0, y2=end + 4),
        tag(
            "text",
            words(figures.percent(tick)),
            class_="axis",
            x=x,
            y=end + 18,
            text_anchor=anchor,
        ),
    )


def _bar(row: Row, share: float, top: float, y: int) -> Markup:
    at = {"x": "100%", "y": y + 14, "text_anchor": "end"}
    size = {"width": percent_of(share, top), "height": _BAR_HEIGHT}
    return tag(
        "g",
        tag("text", words(row.name), class_="name", x=0, y=y + 14),
        tag("text", words(figures.percent(share)), class_="total", **at),
        tag("rect", class_="track", x=0, y=y + _BAR_TOP, width="100%", height=_BAR_HEIGHT),
        tag("rect", class_="bar generate", x=0, y=y + _BAR_TOP, **size),
    )
