"""The figures in which accuracy stands against T_total and against size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from imp_deploy.bench.report import cells, figures, marks, scatter
from imp_deploy.bench.report.accuracy import Column
from imp_deploy.bench.report.markup import Markup, tag, words
from imp_deploy.bench.report.rows import Group, Row
from imp_deploy.bench.report.scatter import Axes, Dot
from imp_deploy.bench.report.variants import Family, Variant
from imp_deploy.results import VariantRecord

NOTE = (
    "Up and to the left is better. The line goes along the variants that no other beats in both "
    "(filled points), by point estimates; bars are 95 % confidence intervals. A label is "
    "bits@resolution."
)

NOTE_TIME = f"{NOTE} The table's ★ counts size as well."

R = TypeVar("R", Row, Variant)


def against_time(group: Group, columns: Sequence[Column], identifier: str) -> Markup:
    """Nothing where times do not count, or without scores."""
    if not marks.timed(group):
        return Markup("")
    rows = [row for row in group.rows if "T_total" in row.statistics]

    def total(row: Row) -> float:
        return row.statistics["T_total"].median

    names = _labels([row.result.variant for row in rows])
    return _figures(
        rows, columns, names, total, ("T_total", "s"), NOTE_TIME, f"{identifier}-accuracy"
    )


def against_size(family: Family, columns: Sequence[Column], identifier: str) -> Markup:
    """Nothing without scores."""
    unit, one = figures.scaled(row.size_bytes for row in family.rows)

    def size(row: Variant) -> float:
        return row.size_bytes / one

    names = _labels([row.variant for row in family.rows])
    return _figures(family.rows, columns, names, size, ("size", unit), NOTE, f"{identifier}-size")


def _figures(
    rows: Sequence[R],
    columns: Sequence[Column],
    names: Sequence[str],
    cost: Callable[[R], float],
    axis: tuple[str, str],
    text: str,
    identifier: str,
) -> Markup:
    """One for each column with a score, below one explanation."""
    drawn = []
    for number, column in enumerate(columns, start=1):
        dots = _dots(rows, column, names, cost)
        if dots:
            axes = Axes(f"{axis[0]} ({axis[1]})", f"{column.metric} ({column.unit})", column.most)
            drawn.append(_figure(dots, column, axes, f"{identifier}-{number}"))
    if not drawn:
        return Markup("")
    title = tag("h4", words(f"Accuracy against {axis[0]}"))
    note = tag("p", words(text), class_="quiet small")
    return tag("section", title, note, tag("div", *drawn, class_="plots"))


def _dots(
    rows: Sequence[R], column: Column, names: Sequence[str], cost: Callable[[R], float]
) -> list[Dot]:
    found = []
    for row, name in zip(rows, names, strict=True):
        answer = column.of(row.answers)
        if answer is not None and answer.score is not None:
            score = answer.score
            found.append(Dot(name, row.name, cost(row), score.value, score.low, score.high))
    return found


def _figure(dots: Sequence[Dot], column: Column, axes: Axes, identifier: str) -> Markup:
    title = f"{column.title}: {axes.value} against {axes.cost}"
    return tag(
        "figure",
        tag("figcaption", tag("h5", words(column.title))),
        scatter.chart(dots, axes, identifier, title),
        tag(
            "details",
            tag("summary", words("The figures of this chart")),
            _table(dots, column, axes, title),
        ),
    )


def _table(dots: Sequence[Dot], column: Column, axes: Axes, title: str) -> Markup:
    decimals = figures.places(dot.cost for dot in dots)
    titles = (axes.cost, axes.value, "95 % interval")
    numbers = (cells.head(title, "n") for title in titles)
    texts = (cells.head("Variant"), cells.head("Label"))
    head = tag("tr", *texts, *numbers, cells.head("On the line"))
    body = (
        tag(
            "tr",
            tag("th", cells.name(dot.name), scope="row"),
            cells.cell(dot.label),
            cells.cell(figures.figure(dot.cost, decimals), "n"),
            cells.cell(column.figure(dot.value), "n"),
            cells.cell(f"{column.figure(dot.low)}–{column.figure(dot.high)}", "n"),
            cells.cell("yes" if on else "no"),
        )
        for dot, on in zip(dots, scatter.front(dots), strict=True)
    )
    content = tag("table", tag("thead", head), tag("tbody", *body), class_="narrow")
    return cells.box(content, title)


def _labels(variants: Sequence[VariantRecord]) -> list[str]:
    """`4@196`; with the vision tower's bits where they are not 16, and with a letter where several
    would be the same."""
    names = [
        f"{v.bits}@{v.resolution}" + (f" v{v.vision_bits}" if v.vision_bits != 16 else "")
        for v in variants
    ]
    return [
        f"{name} {_letter(names[:place].count(name))}" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else str(number + 1)
