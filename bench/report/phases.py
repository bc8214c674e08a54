"""The three phases (and the rest) of each variant, as a stacked bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imp_deploy.bench.report import bars, figures
from imp_deploy.bench.report.markup import Markup, percent_of, tag, words
from imp_deploy.bench.report.rows import Row
from imp_deploy.results import Sample

NAMES = ("vision", "prompt", "generate", "rest")

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


def chart(rows: Sequence[Row]) -> Markup:
    """A bar for each of `rows`, which have measured samples, above one axis in seconds."""
    drawn = [(row, middle(row.result.measured)) for row in rows]
    top = max(phases.total for _, phases in drawn)
    ticks = figures.ticks(top, 4)
    axis = bars.axis(ticks, top, lambda seconds: f"{figures.tick_text(seconds)} s")
    return tag(
        "div", *(_row(row, phases, ticks, top) for row, phases in drawn), axis, class_="bars"
    )


def legend() -> Markup:
    items = (tag("li", tag("span", class_=f"key {name}"), words(name)) for name in NAMES)
    return tag("ul", *items, class_="legend")


def _row(row: Row, phases: Phases, ticks: Sequence[float], top: float) -> Markup:
    parts = []
    begin = 0.0
    for name, seconds in zip(NAMES, phases.parts(), strict=True):
        if seconds > 0:
            parts.append(_segment(name, seconds, begin, top))
            begin += seconds
    named = (f"{n} {_seconds(s)}" for n, s in zip(NAMES, phases.parts(), strict=True))
    title = f"{row.name}: {', '.join(named)}, total {_seconds(phases.total)}"
    return bars.labelled(row.name, _seconds(phases.total), bars.bar(parts, title, ticks, top))


def _segment(name: str, seconds: float, begin: float, top: float) -> Markup:
    size = {"width": percent_of(seconds, top), "height": bars.HEIGHT}
    parts = [
        tag("title", words(f"{name}: {_seconds(seconds)}")),
        tag("rect", class_=f"bar {name}", x=percent_of(begin, top), y=0, **size),
    ]
    if seconds / top > _ROOM:
        at = {"x": percent_of(begin + seconds / 2, top), "y": 15, "text_anchor": "middle"}
        parts.append(tag("text", words(_short(seconds)), class_=f"inside {name}", **at))
    return tag("g", *parts)


def _short(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds >= 0.1 else f"{seconds:.3f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.{figures.places([seconds])}f} s"
