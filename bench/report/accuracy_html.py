"""Tables of accuracies and distances on the page, and the cells that latencies share with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imp_deploy.bench.report import asked, cells, distance, figures, marks, paper, remarks
from imp_deploy.bench.report.accuracy import Answer, Column
from imp_deploy.bench.report.markup import Markup, tag, words
from imp_deploy.bench.report.rows import Row
from imp_deploy.bench.report.variants import Family, Variant


def heads(columns: Sequence[Column]) -> list[Markup]:
    return [cells.head(c.title, "n task", c.measure) for c in columns]


def cells_of(row: Row | Variant, columns: Sequence[Column], stars: Sequence[bool]) -> list[Markup]:
    """Value, interval and how many were asked, or what there is instead of a score."""
    pairs = zip(columns, stars, strict=True)
    return [_cell(column.of(row.answers), column, star) for column, star in pairs]


def _cell(answer: Answer | None, column: Column, star: bool) -> Markup:
    if answer is None:
        return cells.cell(figures.NONE, "n")
    if answer.score is None:
        return cells.cell(answer.text, "n mark" if answer.state == "incomplete" else "n quiet")
    mark = _STAR if star else ()
    return tag(
        "td",
        *mark,
        tag("span", words(column.figure(answer.score.value)), class_="median"),
        words(" "),
        tag("span", words(column.interval(answer.score)), class_="range"),
        words(" "),
        tag("span", words(answer.asked), class_="range"),
        class_="n",
    )


_STAR = (
    tag("span", words(marks.STAR), class_="star", role="img", aria_label="Pareto-optimal"),
    words(" "),
)


def beside(row: Row | Variant, columns: Iterable[Column]) -> bool:
    """Whether one of the paper's accuracies stands beside the row's."""
    return any(remarks.printed(row, column) is not None for column in columns)


def paper_cells(row: Row | Variant, columns: Sequence[Column]) -> list[Markup]:
    theirs = (remarks.printed(row, column) for column in columns)
    return [
        tag("td")
        if each is None
        else cells.cell(
            f"{each.value:.{each.decimals}f}" + "\u2007" * (column.decimals - each.decimals), "n"
        )
        for each, column in zip(theirs, columns, strict=True)
    ]


def table(family: Family, columns: Sequence[Column]) -> Markup:
    """Accuracy and size of each variant; below it, where the paper has it, the paper's."""
    stars = [marks.of_variants(family.rows, column) for column in columns]
    head = (
        cells.head("Model"),
        cells.head("Bits", "n"),
        cells.head("Size", "n"),
        *heads(columns),
        cells.head("Answered on", "places"),
    )
    body = (
        tag("tbody", *_rows(row, columns, [star[number] for star in stars]))
        for number, row in enumerate(family.rows)
        if row.answers
    )
    content = tag("table", tag("thead", tag("tr", *head)), *body, class_="latency snug")
    return cells.box(content, f"Accuracy of {family.title}")


def _rows(row: Variant, columns: Sequence[Column], stars: Sequence[bool]) -> list[Markup]:
    ours = tag(
        "tr",
        _model(row),
        cells.cell(_bits(row), "n"),
        cells.cell(figures.size(row.size_bytes), "n"),
        *cells_of(row, columns, stars),
        tag("td", words("; ".join(row.places)), class_="places"),
        class_="ours",
    )
    if not beside(row, columns):
        return [ours]
    theirs = tag(
        "tr",
        tag("th", words("paper"), scope="row"),
        tag("td", colspan=2),
        *paper_cells(row, columns),
        cells.cell(paper.ACCURACY_HARDWARE),
        class_="paper",
    )
    return [ours, theirs]


def evaluations(family: Family) -> Markup:
    head = (cells.head(title.capitalize()) for title in asked.HEAD)
    body = (
        tag("tr", tag("th", cells.name(name), scope="row"), *map(cells.cell, texts))
        for name, *texts in asked.lines(family)
    )
    content = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body), class_="narrow")
    return cells.box(content, asked.TITLE)


def distances(family: Family) -> Markup:
    titles = (cells.head(title, "n", unit) for title, unit in distance.TITLES.values())
    head = (
        cells.head("Model"),
        cells.head("Bits", "n"),
        *titles,
        cells.head("Questions", "places"),
        cells.head("Reference", "places"),
    )
    body = (
        tag(
            "tr",
            _model(row),
            cells.cell(_bits(row), "n"),
            *(cells.cell(text, "n") for text in each.texts()),
            cells.cell(each.questions, "places"),
            tag("td", cells.name(each.reference), class_="places"),
        )
        for row in family.rows
        for each in row.distances
    )
    content = tag(
        "table", tag("thead", tag("tr", *head)), tag("tbody", *body), class_="narrow snug"
    )
    return cells.box(content, f"Distance of {family.title} from the reference")


def _model(row: Variant) -> Markup:
    apart = (words(" "), tag("span", words(row.apart), class_="range")) if row.alike else ()
    return tag("th", words(row.model), *apart, scope="row")


def _bits(row: Variant) -> str:
    vision = row.variant.vision_bits
    return str(row.variant.bits) + (f" (vision {vision})" if vision != 16 else "")
