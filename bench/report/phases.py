"""The three phases (and the rest) of each variant, as a stacked bar.

Widths are percentages and texts keep their size, so that the picture fits any width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imp_deploy.bench.report import figures
from imp_deploy.bench.report.markup import Markup, percent_of, tag, together, words
from imp_deploy.bench.report.rows import Row
from imp_deploy.results import Sample

NAMES = ("vision", "prompt", "generate", "rest")

_LINE = 56  # pixels from one variant to the next
_BAR_TOP, _BAR_HEIGHT = 20, 22
_AXIS = 24
_ROOM = 0.13  # share of the width from which a segment holds its own figure


@dataclass(frozen=True)
class Phases:
    """Seconds; they sum to `total`."""

    vision: float
    prompt: float
    generate: float
    rest: float

    @property
    def total(self) -> float:
        return self.vision + self.prompt + self.generate + self.rest

    def parts(self) -> tuple[float, ...]:
        return (self.vision, self.prompt, self.generate, self.rest)


def middle(samples: Sequence[Sample]) -> Phases:
    """The phases of the sample with the median T_total, or the mean of the middle two. (Medians of
    the phases, each for itself, would not sum to the median of T_total.)"""
    ordered = sorted(samples, key=lambda sample: sample.seconds.total)
    half = len(ordered) // 2
    chosen = ordered[half : half + 1] if len(ordered) % 2 else ordered[half - 1 : half + 1]
    count = len(chosen)
    vision, prompt, generate, total = (
        sum(getattr(sample.seconds, name) for sample in chosen) / count
        for name in ("vision", "prompt", "generate", "total")
    )
    return Phases(vision, prompt, generate, total - vision - prompt - generate)


def chart(rows: Sequence[Row], identifier: str, name: str) -> Markup:
    """An SVG of all `rows`, which have measured samples; `identifier` makes its ids unique."""
    bars = [(row, middle(row.result.measured)) for row in rows]
    top = max(bar.total for _, bar in bars)
    height = _LINE * len(bars) + _AXIS
    marks = [_grid(tick, top, height) for tick in figures.ticks(top, 4)]
    drawn = [_bar(row, bar, top, index * _LINE) for index, (row, bar) in enumerate(bars)]
    longest = max(bars, key=lambda entry: entry[1].total)
    text = (
        f"Stacked bars of {len(bars)} variants, seconds for vision, prompt, generation and the "
        f"rest. The longest takes {longest[1].total:.2f} s: {longest[0].name}. The table of "
        "phases below holds all figures."
    )
    return tag(
        "svg",
        tag("title", words(f"Phases of each variant on {name}"), id=f"{identifier}-t"),
        tag("desc", words(text), id=f"{identifier}-d"),
        *marks,
        *drawn,
        class_="chart",
        role="img",
        aria_labelledby=f"{identifier}-t {identifier}-d",
        width="100%",
        height=height,
    )


def legend() -> Markup:
    items = (tag("li", tag("span", class_=f"key {name}"), words(name)) for name in NAMES)
    return tag("ul", *items, class_="legend")


def _grid(tick: float, top: float, height: int) -> Markup:
    x = percent_of(tick, top)
    end = height - _AXIS
    anchor = "start" if tick == 0 else "end" if tick > 0.96 * top else "middle"
    label = f"{figures.tick_text(tick)} s"
    return together(
        tag("line", class_="grid", x1=x, x2=x, y1=0, y2=end + 4),
        tag("text", words(label), class_="axis", x=x, y=end + 18, text_anchor=anchor),
    )


def _bar(row: Row, bar: Phases, top: float, y: int) -> Markup:
    parts = [
        tag("text", words(row.name), class_="name", x=0, y=y + 14),
        tag(
            "text",
            words(_seconds(bar.total)),
            class_="total",
            x="100%",
            y=y + 14,
            text_anchor="end",
        ),
    ]
    begin = 0.0
    for name, seconds in zip(NAMES, bar.parts(), strict=True):
        if seconds > 0:
            parts.append(_segment(name, seconds, begin, top, y + _BAR_TOP))
            begin += seconds
    return tag("g", *parts)


def _segment(name: str, seconds: float, begin: float, top: float, y: int) -> Markup:
    parts = [
        tag("title", words(f"{name}: {_seconds(seconds)}")),
        tag(
            "rect",
            class_=f"bar {name}",
            x=percent_of(begin, top),
            y=y,
            width=percent_of(seconds, top),
            height=_BAR_HEIGHT,
        ),
    ]
    if seconds / top > _ROOM:
        centre = percent_of(begin + seconds / 2, top)
        label = words(_short(seconds))
        at = {"x": centre, "y": y + 15, "text_anchor": "middle"}
        parts.append(tag("text", label, class_=f"inside {name}", **at))
    return tag("g", *parts)


def _short(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds >= 0.1 else f"{seconds:.3f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.{figures.places([seconds])}f} s"
