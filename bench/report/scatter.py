"""Accuracy against what it costs: a point for each variant with its confidence interval, and a line
along those that no other beats in both."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from imp_deploy.bench.report import figures, labels
from imp_deploy.bench.report.markup import Markup, percent_of, tag, together, words
from imp_deploy.bench.report.pareto import optimal

_TOP, _HEIGHT, _AXIS = 24, 240, 38
_WIDE = 1000.0  # units across the inner, stretched picture
_CAP = 4  # half the width of an error bar's ends


@dataclass(frozen=True)
class Dot:
    """A variant: its short `label`, its full `name`, what it costs (less is better) and its
    accuracy (more is better) with its interval."""

    label: str
    name: str
    cost: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Axes:
    """What is drawn: `cost` such as `T_total (s)`, `value` such as `accuracy (%)`; the value lies
    between 0 and `most`."""

    cost: str
    value: str
    most: float


def front(dots: Sequence[Dot]) -> tuple[bool, ...]:
    """Which dots lie on the line: none is as cheap and as accurate as they and better in one."""
    return optimal([(dot.value, -dot.cost) for dot in dots])


def chart(dots: Sequence[Dot], axes: Axes, identifier: str, title: str) -> Markup:
    """An SVG of the dots, of which there is at least one."""
    across = figures.span((dot.cost for dot in dots), from_zero=True)
    down = figures.span(v for dot in dots for v in (dot.low, dot.value, dot.high))
    down = (max(0.0, down[0]), min(axes.most, down[1]))
    best = front(dots)
    anchors = [_anchor(dot, across, down) for dot in dots]
    stair = _stair(anchors, best)
    spots = labels.places(anchors, _HEIGHT, stair)
    drawn = (
        _dot(dot, anchor, spot, on)
        for dot, anchor, spot, on in zip(dots, anchors, spots, best, strict=True)
    )
    return tag(
        "svg",
        tag("title", words(title), id=f"{identifier}-t"),
        tag("desc", words(_summary(dots, axes)), id=f"{identifier}-d"),
        tag("text", words(axes.value), class_="panel", x=0, y=12),
        _grid(across, down, axes.cost),
        _line(stair),
        *drawn,
        class_="chart scatter",
        role="img",
        aria_labelledby=f"{identifier}-t {identifier}-d",
        width="100%",
        height=_TOP + _HEIGHT + _AXIS,
    )


def _summary(dots: Sequence[Dot], axes: Axes) -> str:
    return " ".join(
        f"{dot.name}: {axes.cost} {dot.cost:.3g}, {axes.value} {dot.value:.2f} "
        f"({dot.low:.2f} to {dot.high:.2f})."
        for dot in dots
    )


def _anchor(dot: Dot, across: tuple[float, float], down: tuple[float, float]) -> labels.Anchor:
    y = [_y(value, down) for value in (dot.value, dot.high, dot.low)]
    return labels.Anchor(dot.label, (dot.cost - across[0]) / (across[1] - across[0]), *y)


def _y(value: float, limits: tuple[float, float]) -> float:
    """Pixels below the top of the plot."""
    return _HEIGHT * (1 - (value - limits[0]) / (limits[1] - limits[0]))


def _grid(across: tuple[float, float], down: tuple[float, float], cost: str) -> Markup:
    bottom = _TOP + _HEIGHT
    lines = []
    for value in figures.between(*down, 5):
        y = _TOP + _y(value, down)
        lines.append(tag("line", class_="grid", x1=0, x2="100%", y1=y, y2=y))
        text = words(figures.tick_text(value))
        lines.append(tag("text", text, class_="axis", x=-8, y=y + 4, text_anchor="end"))
    for value in figures.between(*across, 5):
        share = (value - across[0]) / (across[1] - across[0])
        x = percent_of(share, 1)
        lines.append(tag("line", class_="grid", x1=x, x2=x, y1=bottom, y2=bottom + 4))
        text = words(figures.tick_text(value))
        anchor = "start" if share < 0.02 else "end" if share > 0.98 else "middle"
        lines.append(tag("text", text, class_="axis", x=x, y=bottom + 16, text_anchor=anchor))
    lines.append(tag("line", class_="base", x1=0, x2="100%", y1=bottom, y2=bottom))
    name = tag("text", words(cost), class_="panel", x="100%", y=bottom + 34, text_anchor="end")
    return tag("g", *lines, name)


def _stair(
    anchors: Sequence[labels.Anchor], best: Sequence[bool]
) -> tuple[tuple[float, float], ...]:
    """Corners, from left to right; whatever lies below and to the right of it is beaten."""
    steps = sorted({(a.across, a.down) for a, on in zip(anchors, best, strict=True) if on})
    corners = steps[:1]
    for (_, before), (across, down) in itertools.pairwise(steps):
        corners += [(across, before), (across, down)]
    return tuple(corners)


def _line(stair: Sequence[tuple[float, float]]) -> Markup:
    """It lies in an inner picture that is stretched to the width."""
    if len(stair) < 2:
        return Markup("")
    drawn = tag(
        "polyline",
        class_="front",
        points=" ".join(f"{x * _WIDE:.1f},{y:.1f}" for x, y in stair),
    )
    return tag(
        "svg",
        drawn,
        x=0,
        y=_TOP,
        width="100%",
        height=_HEIGHT,
        viewBox=f"0 0 {_WIDE:.0f} {_HEIGHT}",
        preserveAspectRatio="none",
    )


def _dot(dot: Dot, anchor: labels.Anchor, spot: labels.Spot, on: bool) -> Markup:
    """A picture of its own with the point at its origin, so that what belongs to the point is in
    pixels from it, however wide the page is."""
    up, low = anchor.up - anchor.down, anchor.low - anchor.down
    bar = (
        tag("line", class_="error", x1=0, x2=0, y1=up, y2=low),
        *(tag("line", class_="error", x1=-_CAP, x2=_CAP, y1=end, y2=end) for end in (up, low)),
    )
    far = abs(spot.dy) > 20
    leader = tag("line", class_="leader", x1=0, y1=0, x2=0.7 * spot.dx, y2=spot.dy)
    text = tag(
        "text", words(dot.label), class_="label", x=spot.dx, y=spot.dy + 4, text_anchor=spot.anchor
    )
    return tag(
        "svg",
        tag("title", words(f"{dot.name}: {dot.value:.2f} ({dot.low:.2f} to {dot.high:.2f})")),
        together(*bar),
        leader if far else Markup(""),
        tag("circle", class_="dot best" if on else "dot", cx=0, cy=0, r=5),
        text,
        x=percent_of(anchor.across, 1),
        y=_TOP + anchor.down,
        overflow="visible",
    )
