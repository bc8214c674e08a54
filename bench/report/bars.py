"""Rows of horizontal bars: a line of text that may wrap, the bar below it, one axis for all.

Widths are shares of the page's and texts keep their size, so that they fit any screen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imp_deploy.bench.report.markup import Markup, percent_of, tag, together, words

HEIGHT = 22  # pixels
_AXIS = 20


def labelled(name: str, figure: str, svg: Markup) -> Markup:
    label = tag("p", tag("span", words(name)), words(" "), tag("strong", words(figure)))
    return tag("div", label, svg, class_="row")


def bar(parts: Sequence[Markup], title: str, ticks: Sequence[float], top: float) -> Markup:
    """One bar as an SVG of its own, with grid lines behind it; `title` is read instead of it."""
    lines = (
        tag("line", class_="grid", x1=percent_of(t, top), x2=percent_of(t, top), y1=0, y2=HEIGHT)
        for t in ticks
    )
    content = (tag("title", words(title)), *lines, *parts)
    return tag("svg", *content, class_="chart", role="img", width="100%", height=HEIGHT)


def axis(ticks: Sequence[float], top: float, text: Callable[[float], str]) -> Markup:
    """Hidden from screen readers: every bar has its figures in words."""
    drawn = (_tick(t, top, text(t)) for t in ticks)
    size = {"width": "100%", "height": _AXIS}
    return tag("svg", *drawn, class_="chart axis-line", aria_hidden="true", **size)


def _tick(value: float, top: float, text: str) -> Markup:
    x = percent_of(value, top)
    anchor = "start" if value == 0 else "end" if value > 0.95 * top else "middle"
    return together(
        tag("line", class_="grid", x1=x, x2=x, y1=0, y2=4),
        tag("text", words(text), class_="axis", x=x, y=16, text_anchor=anchor),
    )
