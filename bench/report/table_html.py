"""The tables of the page: latency in the shape of the paper's Table 4, and the phases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imp_deploy.bench.report import describe, figures, paper, phases
from imp_deploy.bench.report.markup import Markup, tag, together, words
from imp_deploy.bench.report.rows import Group, Row, hardware
from imp_deploy.results import METRICS

_UNITS = {"T_VE": "s", "S_prompt": "tok/s", "S_gen": "tok/s", "T_total": "s"}


def latency(group: Group) -> Markup:
    """A row for each result; below it, where the paper has one, the paper's and the ratios."""
    decimals = {
        m: figures.places(row.statistics[m].median for row in group.rows if row.statistics)
        for m in METRICS
    }
    head = (
        _head("Model"),
        _head("Bits", "n"),
        _head("Size", "n"),
        _head("Hardware", "hardware"),
        *(_head(metric, "n", _UNITS[metric]) for metric in METRICS),
        _head("Samples", "n"),
        _head("Measured"),
        _head("Warnings"),
    )
    body = (tag("tbody", *_rows(row, decimals)) for row in group.rows)
    return _box(
        tag("table", tag("thead", tag("tr", *head)), *body, class_="latency"),
        f"Latency on {group.hardware}",
    )


def _rows(row: Row, decimals: dict[str, int]) -> list[Markup]:
    ours = tag(
        "tr",
        tag("th", words(row.model), *_badges(row), scope="row"),
        _cell(_bits(row), "n"),
        _cell(figures.size(row.size_bytes), "n"),
        _hardware(row),
        *(_metric(row, metric, decimals[metric]) for metric in METRICS),
        _cell(row.count, "n" if row.result.complete else "n mark"),
        _two_lines(row.date[:10], row.date[11:]),
        tag("td", _codes(row), class_="codes"),
        class_="ours",
    )
    if row.paper is None:
        return [ours]
    printed, theirs = row.paper, row.paper.metrics()
    theirs_line = tag(
        "tr",
        tag("th", words("paper"), scope="row"),
        _cell(str(printed.bits), "n"),
        _cell(f"{printed.size:.1f} GiB", "n"),
        _cell(printed.hardware, "hardware"),
        *(_cell(_printed(theirs[m], decimals[m]), "n") for m in METRICS),
        tag("td", colspan=3),
        class_="paper",
    )
    ratios = tag(
        "tr",
        tag("th", words("ours ÷ paper"), scope="row"),
        tag("td", colspan=2),
        tag("td", class_="hardware"),
        *(_cell(figures.ratio(row.ratio(m)), "n") for m in METRICS),
        tag("td", colspan=3),
        class_="ratio",
    )
    return [ours, theirs_line, ratios]


def _printed(value: float, decimals: int) -> str:
    """The paper's digits, no more, and digit-wide spaces where our column has more."""
    return figures.figure(value, paper.PLACES) + "\u2007" * (decimals - paper.PLACES)


def _badges(row: Row) -> list[Markup]:
    """Below the name, because that column stays in sight where the table scrolls."""
    marks = ["emulated"] if row.result.device.emulated else []
    if not row.result.complete:
        marks.append("incomplete")
    return [together(words(" "), tag("span", words(mark), class_="badge")) for mark in marks]


def _hardware(row: Row) -> Markup:
    name, soc = hardware(row.result)
    return _two_lines(name, soc, "hardware")


def _two_lines(first: str, second: str, kind: str | None = None) -> Markup:
    small = tag("span", words(second), class_="range")
    return tag("td", words(first), words(" "), small, class_=kind)


def _metric(row: Row, metric: str, decimals: int) -> Markup:
    statistics = row.statistics.get(metric)
    if statistics is None:
        return _cell(figures.NONE, "n")
    low, high = (figures.figure(v, decimals) for v in (statistics.p5, statistics.p95))
    spread = tag("span", words(f"{low}–{high}"), class_="range")
    value = tag("span", words(figures.figure(statistics.median, decimals)), class_="median")
    return tag("td", value, words(" "), spread, class_="n")


def _codes(row: Row) -> Markup:
    if not row.codes:
        return words("none")
    return together(*(tag("code", *_breakable(code)) for code in row.codes))


def _breakable(code: str) -> Iterator[Markup]:
    """A code that may be broken behind its underscores, so that long ones widen no table."""
    *parts, last = code.split("_")
    for part in parts:
        yield words(f"{part}_")
        yield tag("wbr")
    yield words(last)


def _bits(row: Row) -> str:
    vision = row.result.variant.vision_bits
    return str(row.result.variant.bits) + (f" (vision {vision})" if vision != 16 else "")


def phase_table(rows: Sequence[Row]) -> Markup:
    """The figures of the phases' chart, in seconds; they sum to the total."""
    bars = [(row, phases.middle(row.result.measured)) for row in rows]
    decimals = figures.places(bar.total for _, bar in bars)
    head = (*(_head(name, "n", "s") for name in phases.NAMES), _head("T_total", "n", "s"))
    body = (
        tag(
            "tr",
            tag("th", _name(row.name), scope="row"),
            *(_cell(figures.figure(v, decimals), "n") for v in (*bar.parts(), bar.total)),
        )
        for row, bar in bars
    )
    return _box(
        tag(
            "table",
            tag("thead", tag("tr", _head("Variant"), *head)),
            tag("tbody", *body),
            class_="narrow",
        ),
        "Phases in seconds",
    )


def bandwidth_table(rows: Sequence[Row]) -> Markup:
    """What the bandwidth's shares are made of."""
    body = (
        tag(
            "tr",
            tag("th", _name(row.name), scope="row"),
            _cell(figures.size(row.result.measured[0].decode_bytes), "n"),
            _cell(figures.rate((row.share or 0) * row.result.bandwidth_bytes_per_second), "n"),
            _cell(figures.rate(row.result.bandwidth_bytes_per_second), "n"),
            _cell(figures.percent(row.share), "n"),
        )
        for row in rows
    )
    titles = ("Weights per token", "Read while decoding", "Copy test", "Share")
    head = (_head("Variant"), *(_head(title, "n") for title in titles))
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body), class_="narrow")
    return _box(table, "Memory bandwidth")


def difference_table(
    rows: Sequence[tuple[str, str, str]], reference: Group, group: Group
) -> Markup:
    titles = ("", f"group {reference.number}", f"group {group.number}")
    head = tag("tr", *(_head(title) if title else tag("td") for title in titles))
    body = (
        tag("tr", tag("th", words(name), scope="row"), _cell(one), _cell(other))
        for name, one, other in rows
    )
    return _box(
        tag("table", tag("thead", head), tag("tbody", *body), class_="text"), "What differs"
    )


def during_table(group: Group) -> Markup:
    first, *others = describe.DURING
    body = (
        tag("tr", tag("th", _name(name), scope="row"), *(_cell(text, "n") for text in texts))
        for name, *texts in describe.during(group)
    )
    head = tag("tr", _head(first.capitalize()), *(_head(t[0].upper() + t[1:], "n") for t in others))
    return _box(
        tag("table", tag("thead", head), tag("tbody", *body), class_="narrow"), "During the runs"
    )


def _name(name: str) -> Markup:
    """A variant's name, which breaks elsewhere than in `4 bits`."""
    return words(name.replace(" bits", "\u00a0bits"))


def _head(title: str, kind: str | None = None, unit: str = "") -> Markup:
    parts = [words(title)]
    if unit:
        parts += [words(" "), tag("span", words(unit), class_="unit")]
    return tag("th", *parts, scope="col", class_=kind)


def _cell(text: str, kind: str | None = None) -> Markup:
    return tag("td", words(text), class_=kind)


def _box(table: Markup, label: str) -> Markup:
    """A table that scrolls in itself where it is too wide, by keyboard as well."""
    return tag("div", table, class_="box", role="region", tabindex=0, aria_label=label)
