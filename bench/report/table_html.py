"""The tables of the page: latency in the shape of the paper's Table 4, and the phases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imp_deploy.bench.report import accuracy_html, cells, describe, figures, marks, paper, phases
from imp_deploy.bench.report.accuracy import Column
from imp_deploy.bench.report.hardware import hardware
from imp_deploy.bench.report.markup import Markup, tag, together, words
from imp_deploy.bench.report.rows import Group, Row
from imp_deploy.results import METRICS

_UNITS = {"T_VE": "s", "S_prompt": "tok/s", "S_gen": "tok/s", "T_total": "s"}
_LAST = 3  # columns behind the figures


def latency(group: Group, columns: Sequence[Column]) -> Markup:
    """A row for each result, its accuracies in `columns` beside its times; below it, where the
    paper has them, the paper's figures and the ratios."""
    decimals = {
        m: figures.places(row.statistics[m].median for row in group.rows if row.statistics)
        for m in METRICS
    }
    head = (
        cells.head("Model"),
        cells.head("Bits", "n"),
        cells.head("Size", "n"),
        cells.head("Hardware", "hardware"),
        *(cells.head(metric, "n", _UNITS[metric]) for metric in METRICS),
        *accuracy_html.heads(columns),
        cells.head("Samples", "n"),
        cells.head("Measured"),
        cells.head("Warnings"),
    )
    stars = [marks.of_group(group, column) for column in columns]
    body = (
        tag("tbody", *_rows(row, decimals, columns, [star[number] for star in stars]))
        for number, row in enumerate(group.rows)
    )
    what = "Latency and accuracy" if columns else "Latency"
    return cells.box(
        tag("table", tag("thead", tag("tr", *head)), *body, class_="latency"),
        f"{what} on {group.hardware}",
    )


def _rows(
    row: Row, decimals: dict[str, int], columns: Sequence[Column], stars: Sequence[bool]
) -> list[Markup]:
    ours = tag(
        "tr",
        tag("th", words(row.model), *_badges(row), scope="row"),
        cells.cell(_bits(row), "n"),
        cells.cell(figures.size(row.size_bytes), "n"),
        _hardware(row),
        *(_metric(row, metric, decimals[metric]) for metric in METRICS),
        *accuracy_html.cells_of(row, columns, stars),
        cells.cell(row.count, "n" if row.result.complete else "n mark"),
        cells.two_lines(row.date[:10], row.date[11:]),
        tag("td", _codes(row), class_="codes"),
        class_="ours",
    )
    return [ours, *_theirs(row, decimals, columns)]


def _theirs(row: Row, decimals: dict[str, int], columns: Sequence[Column]) -> list[Markup]:
    """The paper's figures and ours over them; never below an emulated row."""
    known = () if row.result.device.emulated else columns
    accuracies = accuracy_html.paper_cells(row, known)
    if row.paper is None:
        if not accuracy_html.beside(row, known):
            return []
        return [
            _paper_line(
                tag("td", colspan=2),
                cells.cell(paper.ACCURACY_HARDWARE, "hardware"),
                tag("td", colspan=len(METRICS)),
                *accuracies,
            )
        ]
    printed, theirs = row.paper, row.paper.metrics()
    first = (
        cells.cell(str(printed.bits), "n"),
        cells.cell(f"{printed.size:.1f} GiB", "n"),
        cells.cell(printed.hardware, "hardware"),
        *(cells.cell(_printed(theirs[m], decimals[m]), "n") for m in METRICS),
    )
    ratios = tag(
        "tr",
        tag("th", words("ours ÷ paper"), scope="row"),
        tag("td", colspan=2),
        tag("td", class_="hardware"),
        *(cells.cell(figures.ratio(row.ratio(m)), "n") for m in METRICS),
        tag("td", colspan=_LAST + len(columns)),
        class_="ratio",
    )
    return [_paper_line(*first, *accuracies), ratios]


def _paper_line(*content: Markup) -> Markup:
    head = tag("th", words("paper"), scope="row")
    return tag("tr", head, *content, tag("td", colspan=_LAST), class_="paper")


def _printed(value: float, decimals: int) -> str:
    """The paper's digits, no more, and digit-wide spaces where our column has more."""
    return figures.figure(value, paper.PLACES) + "\u2007" * (decimals - paper.PLACES)


def _badges(row: Row) -> list[Markup]:
    """Below the name, because that column stays in sight where the table scrolls."""
    found = ["emulated"] if row.result.device.emulated else []
    if not row.result.complete:
        found.append("incomplete")
    found += row.marks
    return [together(words(" "), tag("span", words(mark), class_="badge")) for mark in found]


def _hardware(row: Row) -> Markup:
    name, soc = hardware(row.result.device)
    return cells.two_lines(name, soc, "hardware")


def _metric(row: Row, metric: str, decimals: int) -> Markup:
    statistics = row.statistics.get(metric)
    if statistics is None:
        return cells.cell(figures.NONE, "n")
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
    head = (*(cells.head(name, "n", "s") for name in phases.NAMES), cells.head("T_total", "n", "s"))
    body = (
        tag(
            "tr",
            tag("th", cells.name(row.name), scope="row"),
            *(cells.cell(figures.figure(v, decimals), "n") for v in (*bar.parts(), bar.total)),
        )
        for row, bar in bars
    )
    return cells.box(
        tag(
            "table",
            tag("thead", tag("tr", cells.head("Variant"), *head)),
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
            tag("th", cells.name(row.name), scope="row"),
            cells.cell(figures.size(row.result.measured[0].decode_bytes), "n"),
            cells.cell(figures.rate((row.share or 0) * row.result.bandwidth_bytes_per_second), "n"),
            cells.cell(figures.rate(row.result.bandwidth_bytes_per_second), "n"),
            cells.cell(figures.percent(row.share), "n"),
        )
        for row in rows
    )
    titles = ("Weights per token", "Read while decoding", "Copy test", "Share")
    head = (cells.head("Variant"), *(cells.head(title, "n") for title in titles))
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body), class_="narrow")
    return cells.box(table, "Memory bandwidth")


def difference_table(
    rows: Sequence[tuple[str, str, str]], reference: Group, group: Group
) -> Markup:
    titles = ("", f"group {reference.number}", f"group {group.number}")
    head = tag("tr", *(cells.head(title) if title else tag("td") for title in titles))
    body = (
        tag("tr", tag("th", words(name), scope="row"), cells.cell(one), cells.cell(other))
        for name, one, other in rows
    )
    return cells.box(
        tag("table", tag("thead", head), tag("tbody", *body), class_="text"), "What differs"
    )


def during_table(group: Group) -> Markup:
    first, *others = describe.DURING
    body = (
        tag(
            "tr",
            tag("th", cells.name(name), scope="row"),
            *(cells.cell(text, "n") for text in texts),
        )
        for name, *texts in describe.during(group)
    )
    head = tag(
        "tr",
        cells.head(first.capitalize()),
        *(cells.head(t[0].upper() + t[1:], "n") for t in others),
    )
    return cells.box(
        tag("table", tag("thead", head), tag("tbody", *body), class_="narrow"), "During the runs"
    )
