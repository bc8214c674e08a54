"""Accuracies and distances in the Markdown report."""

from __future__ import annotations

from collections.abc import Sequence

from imp_deploy.bench.report import asked, distance, explain, figures, marks, paper, remarks
from imp_deploy.bench.report.accuracy import Column
from imp_deploy.bench.report.contents import Contents, shown
from imp_deploy.bench.report.markdown_text import table, text
from imp_deploy.bench.report.rows import Row
from imp_deploy.bench.report.variants import Family, Variant

_HEAD = ("source", "model", "bits", "size")
_NUMBERS = frozenset({"bits", "size"})


def section(contents: Contents) -> list[str]:
    """What was evaluated, whatever was timed; nothing where nothing was."""
    parts: list[str] = []
    for family in contents.families:
        name = f"### {text(family.title)}"
        about = f"llama.cpp {text(family.llama_cpp)}, weights SHA-256 {text(family.weights)}"
        parts += [name, about, *_accuracies(family, contents.columns)]
        if distances := _distances(family):
            parts += [f"#### {explain.DISTANCE_HEADING}"] if contents.columns else []
            parts.append(distances)
    heading = explain.ACCURACY_HEADING if contents.columns else explain.DISTANCE_HEADING
    return [f"## {heading}", *parts] if parts else []


def heads(columns: Sequence[Column]) -> tuple[str, ...]:
    """`Demo scenes (accuracy, %)`."""
    return tuple(text(f"{c.title} ({c.measure})" if c.measure else c.title) for c in columns)


def cells(row: Row | Variant, columns: Sequence[Column], stars: Sequence[bool]) -> list[str]:
    """`87.40 ★ (84.20–90.10), 500 asked`, or what there is instead of a score."""
    return [_cell(row, column, star) for column, star in zip(columns, stars, strict=True)]


def _cell(row: Row | Variant, column: Column, star: bool) -> str:
    answer = column.of(row.answers)
    if answer is None:
        return figures.NONE
    if answer.score is None:
        return answer.text
    value = column.figure(answer.score.value) + (f" {marks.STAR}" if star else "")
    return f"{value} ({column.interval(answer.score)}), {answer.asked}"


def paper_cells(row: Row | Variant, columns: Sequence[Column]) -> list[str]:
    theirs = (remarks.printed(row, column) for column in columns)
    return ["" if each is None else f"{each.value:.{each.decimals}f}" for each in theirs]


def remarked(sentences: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {text(sentence)}" for sentence in sentences)] if sentences else []


def _accuracies(family: Family, every: Sequence[Column]) -> list[str]:
    columns = shown(every, family.rows)
    if not columns:
        return []
    stars = [marks.of_variants(family.rows, column) for column in columns]
    lines: list[tuple[str, ...]] = []
    for number, row in enumerate(family.rows):
        if not row.answers:
            continue
        best = [star[number] for star in stars]
        name = (_model(row), _bits(row))
        size = figures.size(row.size_bytes)
        ours = cells(row, columns, best)
        lines.append(("evaluated", *name, size, *ours, ", ".join(row.places)))
        theirs = paper_cells(row, columns)
        if any(theirs):
            lines.append(("paper", *name, "", *theirs, paper.ACCURACY_HARDWARE))
    titles = heads(columns)
    numbers = _NUMBERS.union(titles)
    return [
        table((*_HEAD, *titles, "answered on"), lines, numbers),
        *remarked(remarks.of_variants(family.rows, columns)),
        f"**{asked.TITLE}**",
        table(asked.HEAD, asked.lines(family)),
    ]


def _distances(family: Family) -> str:
    rows = [
        (_model(row), _bits(row), *each.texts(), each.questions, each.reference)
        for row in family.rows
        for each in row.distances
    ]
    if not rows:
        return ""
    titles = tuple(f"{t} ({unit})" if unit else t for t, unit in distance.TITLES.values())
    head = ("model", "bits", *titles, "questions", "reference")
    return table(head, rows, {"bits", *titles})


def _model(row: Variant) -> str:
    return row.model + (f", {row.apart}" if row.alike else "")


def _bits(row: Variant) -> str:
    vision = row.variant.vision_bits
    return str(row.variant.bits) + (f" (vision {vision})" if vision != 16 else "")
