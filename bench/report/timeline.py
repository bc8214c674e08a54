"""Clocks and temperature over a run: one small panel for each cluster of cores and one for the
temperature, above the same time axis, so that no line needs a colour to be told apart."""

from __future__ import annotations

from collections.abc import Sequence

from imp_deploy.bench.report import figures, moments
from imp_deploy.bench.report.markup import Markup, percent_of, tag, together, words
from imp_deploy.bench.report.moments import Point, Repetition
from imp_deploy.results import Core

_TOP = 18  # the line with the rounds
_TITLE, _PANEL, _GAP = 20, 64, 10
_HOT_PANEL = 92
_AXIS = 24
_WIDE = 1000.0  # units across the inner, stretched picture


def chart(
    runs: Sequence[Repetition], cores: Sequence[Core], identifier: str, name: str
) -> Markup | None:
    """An SVG, or None where the device tells neither clocks nor temperatures."""
    span = max((r.end for r in runs), default=0.0)
    panels = [*_clock_panels(runs, cores, span), *_hot_panel(runs, span)]
    if not panels or span <= 0:
        return None
    drawn, y = [], _TOP
    for title, height, content in panels:
        drawn.append(tag("text", words(title), class_="panel", x=0, y=y + 14))
        drawn.append(tag("svg", content, x=0, y=y + _TITLE, width="100%", height=height))
        y += _TITLE + height + _GAP
    bottom = y - _GAP
    return tag(
        "svg",
        tag("title", words(f"Clocks and temperature on {name}"), id=f"{identifier}-t"),
        tag("desc", words(_summary(runs, span)), id=f"{identifier}-d"),
        _bands(runs, span, bottom),
        _rounds(runs, span),
        *drawn,
        _time_axis(span, bottom),
        class_="chart time",
        role="img",
        aria_labelledby=f"{identifier}-t {identifier}-d",
        width="100%",
        height=bottom + _AXIS,
    )


def _summary(runs: Sequence[Repetition], span: float) -> str:
    text = f"{len(runs)} repetitions, one after another, in {_clock(span)}."
    heat = [[value for _, value in moments.hottest(r)] for r in runs]
    if all(heat):
        peak = max(max(values) for values in heat)
        text += (
            f" The hottest sensor shows {heat[0][0]:.1f} °C at the start, {peak:.1f} °C at most "
            f"and {heat[-1][-1]:.1f} °C at the end."
        )
    return text


def _clock_panels(
    runs: Sequence[Repetition], cores: Sequence[Core], span: float
) -> list[tuple[str, int, Markup]]:
    found = []
    for cluster in moments.clusters(cores):
        lines = [moments.clocks(r, cluster) for r in runs]
        values = [value for line in lines for _, value in line]
        if not values:
            continue
        top = max(cluster.max_khz, *values)
        count = len(cluster.cores)
        noun = "core" if count == 1 else "cores"
        limit = f" of {figures.gigahertz(cluster.max_khz)}" if cluster.max_khz else ""
        title = f"{count} {noun}{limit}: {min(values) / 1e6:.2f}–{max(values) / 1e6:.2f}"
        labels = ((0.0, "0"), (top, f"{top / 1e6:.2f}"))
        content = _panel(lines, span, (0.0, top), _PANEL, labels, "clock")
        found.append((f"{title} GHz", _PANEL, content))
    return found


def _hot_panel(runs: Sequence[Repetition], span: float) -> list[tuple[str, int, Markup]]:
    names = moments.sensors(runs)
    lines = [moments.hottest(r) for r in runs]
    values = [value for line in lines for _, value in line]
    if not values:
        return []
    single = {name: [moments.celsius(r, name) for r in runs] for name in names}
    lowest = min(value for each in single.values() for line in each for _, value in line)
    low, high = 10 * (lowest // 10), 10 * (max(values) // 10 + 1)
    labels = ((low, f"{low:.0f}"), (high, f"{high:.0f}"))
    faint = [
        _panel(each, span, (low, high), _HOT_PANEL, (), "sensor", name)
        for name, each in single.items()
        if len(names) > 1
    ]
    bold = _panel(lines, span, (low, high), _HOT_PANEL, labels, "hottest")
    which = f"Sensor {names[0]}" if len(names) == 1 else f"Hottest of {len(names)} sensors"
    title = f"{which}: {min(values):.1f}–{max(values):.1f} °C"
    return [(title, _HOT_PANEL, together(*faint, bold))]


def _panel(
    lines: Sequence[Sequence[Point]],
    span: float,
    limits: tuple[float, float],
    height: int,
    labels: Sequence[tuple[float, str]],
    kind: str,
    title: str = "",
) -> Markup:
    """The lines of one measure, and grid lines with labels where there are `labels`. The lines lie
    in an inner picture that is stretched to the width; strokes and texts are not."""
    low, high = limits

    def down(value: float) -> float:
        return height - 1 - (value - low) / (high - low) * (height - 2)

    grid = [
        together(
            tag("line", class_="grid", x1=0, x2="100%", y1=down(value), y2=down(value)),
            tag("text", words(text), class_="axis", x=-8, y=down(value) + 4, text_anchor="end"),
        )
        for value, text in labels
    ]
    shapes = [
        tag(
            "polyline",
            class_=kind,
            points=" ".join(f"{x / span * _WIDE:.1f},{down(v):.1f}" for x, v in line),
        )
        for line in lines
        if line
    ]
    named = [tag("title", words(title))] if title else []
    inner = tag(
        "svg",
        *named,
        *shapes,
        width="100%",
        height=height,
        viewBox=f"0 0 {_WIDE:.0f} {height}",
        preserveAspectRatio="none",
    )
    return together(*grid, inner)


def _bands(runs: Sequence[Repetition], span: float, bottom: int) -> Markup:
    """A band behind each repetition; between them the device rested."""
    return tag(
        "g",
        *(
            tag(
                "g",
                tag("title", words(_named(r))),
                tag(
                    "rect",
                    class_="band warm" if r.sample.warmup else "band",
                    x=percent_of(r.begin, span),
                    y=_TOP,
                    width=percent_of(r.end - r.begin, span),
                    height=bottom - _TOP,
                ),
            )
            for r in runs
        ),
    )


def _named(repetition: Repetition) -> str:
    sample = repetition.sample
    kind = "warm-up" if sample.warmup else "measured"
    return (
        f"round {sample.round}, {kind}, {repetition.variant}: "
        f"{_clock(repetition.begin)} to {_clock(repetition.end)}"
    )


def _rounds(runs: Sequence[Repetition], span: float) -> Markup:
    """Where each round begins; at most eight labels."""
    begins: dict[int, Repetition] = {}
    for r in runs:
        begins.setdefault(r.sample.round, r)
    chosen = list(begins.values())[:: -(-len(begins) // 8)]
    labels = (
        tag(
            "text",
            words(r.sample.round),
            class_="axis",
            x=percent_of(r.begin, span),
            y=11,
            text_anchor="end" if r.begin > 0.97 * span else None,
        )
        for r in chosen
    )
    return tag("g", *labels)


def _time_axis(span: float, bottom: int) -> Markup:
    unit, name = (60.0, "min") if span > 180 else (1.0, "s")
    marks = []
    for tick in figures.ticks(span / unit, 5):
        x = percent_of(tick * unit, span)
        anchor = "start" if tick == 0 else "end" if tick * unit > 0.95 * span else "middle"
        text = words(f"{figures.tick_text(tick)} {name}")
        marks.append(tag("text", text, class_="axis", x=x, y=bottom + 17, text_anchor=anchor))
    line = tag("line", class_="grid", x1=0, x2="100%", y1=bottom + 0.5, y2=bottom + 0.5)
    return tag("g", line, *marks)


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)} min {seconds % 60:.0f} s" if seconds >= 60 else f"{seconds:.1f} s"
