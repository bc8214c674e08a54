"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from imp_deploy.bench.report import (
    describe,
    explain,
    figures,
    markdown_accuracy,
    marks,
    paper,
    remarks,
)
from imp_deploy.bench.report.accuracy import Column
from imp_deploy.bench.report.contents import Contents, shown
from imp_deploy.bench.report.markdown_text import code, table, text
from imp_deploy.bench.report.rows import Group, Row, differences
from imp_deploy.results import METRICS

_HEAD = (
    "source",
    "model",
    "bits",
    "size",
    "hardware",
    "T_VE (s)",
    "S_prompt (tok/s)",
    "S_gen (tok/s)",
    "T_total (s)",
    "T_total p5–p95",
)
_END = ("samples", "measured", "warnings")
_NUMBERS = frozenset({"bits", "size", "samples", *(h for h in _HEAD if h[:2] in ("T_", "S_"))})


def render(contents: Contents) -> str:
    groups = contents.groups
    parts = [f"# {explain.title(contents)}", explain.lead(contents)]
    accuracy = markdown_accuracy.section(contents)
    if not any(group.standing == "measured" for group in groups):
        parts += accuracy
    for standing, heading in explain.HEADINGS.items():
        members = [g for g in groups if g.standing == standing]
        if not members:
            continue
        parts.append(f"## {heading}")
        if caution := explain.CAUTIONS[standing]:
            parts.append(f"> {caution}")
        for group in members:
            parts += _group(group, members[0], contents.columns)
        if standing == "measured":
            parts += accuracy
    return "\n\n".join([*parts, *_reading(contents)]) + "\n"


def _reading(contents: Contents) -> list[str]:
    parts = ["## How to read this"]
    if contents.groups:
        parts.append("\n".join(f"- `{term}`: {meaning}." for term, meaning in explain.TERMS))
        parts.append(f"{explain.STATISTICS} {explain.BANDWIDTH} {explain.COPY_TEST}")
    parts += explain.reading(contents)
    if any(row.paper for group in contents.groups for row in group.rows):
        parts.append(f"{explain.SOURCE} <{paper.LINK}> {explain.RATIOS} {paper.RULE}")
    if explain.papers_accuracies(contents):
        source = f"The paper's accuracies: {paper.ACCURACY_SOURCE}."
        parts.append(f"{source} <{paper.LINK}> {paper.ACCURACY_RULE}")
    return parts


def _group(group: Group, reference: Group, columns: Sequence[Column]) -> list[str]:
    parts = [f"### {text(f'{group.number}. {group.hardware}')}"]
    if group is not reference:
        parts.append(f"Not comparable with {reference.number}; what differs:")
        rows = [(n, a, b) for n, a, b in differences(reference, group)]
        parts.append(table(("", str(reference.number), str(group.number)), rows))
    columns = shown(columns, group.rows)
    heads = markdown_accuracy.heads(columns)
    parts.append(table((*_HEAD, *heads, *_END), _lines(group, columns), _NUMBERS.union(heads)))
    parts += markdown_accuracy.remarked(remarks.of_group(group, columns))
    shares = [row for row in group.rows if row.share is not None]
    if shares:
        parts.append(
            table(
                ("variant", "memory bandwidth", "share reached by decoding"),
                [_share(row) for row in shares],
            )
        )
    if found := describe.notices(group):
        parts.append("\n".join(f"- {text(name)}: `{code(c)}`: {text(m)}" for name, c, m in found))
    if went := describe.during(group):
        parts.append("**During the runs**")
        parts.append(table(describe.DURING, went))
    for facts in describe.describe(group):
        lines = "\n".join(f"- {text(name)}: {text(value)}" for name, value in facts.items)
        parts.append(f"**{facts.title}**\n\n{lines}")
    return parts


def _lines(group: Group, columns: Sequence[Column]) -> list[tuple[str, ...]]:
    medians = {m: [r.statistics[m].median for r in group.rows if r.statistics] for m in METRICS}
    decimals = {metric: figures.places(values) for metric, values in medians.items()}
    stars = [marks.of_group(group, column) for column in columns]
    lines: list[tuple[str, ...]] = []
    for number, row in enumerate(group.rows):
        cells = markdown_accuracy.cells(row, columns, [star[number] for star in stars])
        lines.append(_ours(row, decimals, cells))
        lines += _theirs(row, columns)
    return lines


def _ours(row: Row, decimals: dict[str, int], accuracies: Sequence[str]) -> tuple[str, ...]:
    total = row.statistics.get("T_total")
    return (
        "emulated" if row.result.device.emulated else "measured",
        ", ".join((row.model, *row.marks)),
        _bits(row),
        figures.size(row.size_bytes),
        row.hardware,
        *(
            figures.figure(row.statistics[m].median if row.statistics else None, decimals[m])
            for m in METRICS
        ),
        f"{total.p5:.{decimals['T_total']}f}–{total.p95:.{decimals['T_total']}f}"
        if total
        else figures.NONE,
        *accuracies,
        row.samples,
        row.date,
        ", ".join(row.codes),
    )


def _theirs(row: Row, columns: Sequence[Column]) -> list[tuple[str, ...]]:
    """The paper's figures and ours over them; never below an emulated row."""
    name = (row.model, _bits(row))
    known = () if row.result.device.emulated else columns
    accuracies = markdown_accuracy.paper_cells(row, known)
    empty = ("",) * len(columns)
    end = ("",) * len(_END)
    if row.paper is None:
        if not any(accuracies):
            return []
        times = ("",) * (len(METRICS) + 1)
        return [("paper", *name, "", paper.ACCURACY_HARDWARE, *times, *accuracies, *end)]
    printed, theirs = row.paper, row.paper.metrics()
    values = (figures.figure(theirs[m], paper.PLACES) for m in METRICS)
    size = f"{printed.size} GiB"
    ratios = (figures.ratio(row.ratio(m)) for m in METRICS)
    return [
        ("paper", *name, size, printed.hardware, *values, "", *accuracies, *end),
        ("ours ÷ paper", *name, "", "", *ratios, "", *empty, *end),
    ]


def _bits(row: Row) -> str:
    vision = row.result.variant.vision_bits
    return str(row.result.variant.bits) + (f" (vision {vision})" if vision != 16 else "")


def _share(row: Row) -> tuple[str, ...]:
    bandwidth = figures.rate(row.result.bandwidth_bytes_per_second)
    return (row.name, bandwidth, figures.percent(row.share))
