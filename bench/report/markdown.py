"""The report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from imp_deploy.bench.report import describe, explain, figures, paper
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
    "samples",
    "measured",
    "warnings",
)
_NUMBERS = frozenset({"bits", "size", "samples", *(h for h in _HEAD if h[:2] in ("T_", "S_"))})


def render(groups: tuple[Group, ...]) -> str:
    parts = [f"# {explain.TITLE}", explain.lead(groups)]
    for standing, heading in explain.HEADINGS.items():
        members = [g for g in groups if g.standing == standing]
        if not members:
            continue
        parts.append(f"## {heading}")
        if caution := explain.CAUTIONS[standing]:
            parts.append(f"> {caution}")
        for group in members:
            parts += _group(group, members[0])
    parts.append("## How to read this")
    parts.append("\n".join(f"- `{term}`: {meaning}." for term, meaning in explain.TERMS))
    parts.append(f"{explain.STATISTICS} {explain.BANDWIDTH} {explain.COPY_TEST}")
    if any(row.paper for group in groups for row in group.rows):
        parts.append(f"{explain.SOURCE} <{paper.LINK}> {explain.RATIOS} {paper.RULE}")
    return "\n\n".join(parts) + "\n"


def _group(group: Group, reference: Group) -> list[str]:
    parts = [f"### {_text(f'{group.number}. {group.hardware}')}"]
    if group is not reference:
        parts.append(f"Not comparable with {reference.number}; what differs:")
        rows = [(n, a, b) for n, a, b in differences(reference, group)]
        parts.append(_table(("", str(reference.number), str(group.number)), rows))
    parts.append(_table(_HEAD, [line for row in _lines(group) for line in row]))
    shares = [row for row in group.rows if row.share is not None]
    if shares:
        parts.append(
            _table(
                ("variant", "memory bandwidth", "share reached by decoding"),
                [_share(row) for row in shares],
            )
        )
    if found := describe.notices(group):
        parts.append(
            "\n".join(f"- {_text(name)}: `{_code(c)}`: {_text(m)}" for name, c, m in found)
        )
    if went := describe.during(group):
        parts.append("**During the runs**")
        parts.append(_table(describe.DURING, went))
    for facts in describe.describe(group):
        lines = "\n".join(f"- {_text(name)}: {_text(value)}" for name, value in facts.items)
        parts.append(f"**{facts.title}**\n\n{lines}")
    return parts


def _lines(group: Group) -> list[list[tuple[str, ...]]]:
    medians = {m: [r.statistics[m].median for r in group.rows if r.statistics] for m in METRICS}
    decimals = {metric: figures.places(values) for metric, values in medians.items()}
    return [_row(row, decimals) for row in group.rows]


def _row(row: Row, decimals: dict[str, int]) -> list[tuple[str, ...]]:
    name = (row.model, _bits(row))
    total = row.statistics.get("T_total")
    lines: list[tuple[str, ...]] = [
        (
            "emulated" if row.result.device.emulated else "measured",
            *name,
            figures.size(row.size_bytes),
            row.hardware,
            *(
                figures.figure(row.statistics[m].median if row.statistics else None, decimals[m])
                for m in METRICS
            ),
            f"{total.p5:.{decimals['T_total']}f}–{total.p95:.{decimals['T_total']}f}"
            if total
            else figures.NONE,
            row.samples,
            row.date,
            ", ".join(row.codes),
        )
    ]
    if row.paper is not None:
        printed, theirs = row.paper, row.paper.metrics()
        end = ("", "", "", "")
        shown = (figures.figure(theirs[m], paper.PLACES) for m in METRICS)
        size = f"{printed.size} GiB"
        lines.append(("paper", *name, size, printed.hardware, *shown, *end))
        ratios = (figures.ratio(row.ratio(m)) for m in METRICS)
        lines.append(("ours ÷ paper", *name, "", "", *ratios, *end))
    return lines


def _bits(row: Row) -> str:
    vision = row.result.variant.vision_bits
    return str(row.result.variant.bits) + (f" (vision {vision})" if vision != 16 else "")


def _share(row: Row) -> tuple[str, ...]:
    bandwidth = figures.rate(row.result.bandwidth_bytes_per_second)
    return (row.name, bandwidth, figures.percent(row.share))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ("---:" if name in _NUMBERS else "---" for name in head)
    lines = [head, tuple(rule), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: str) -> str:
    """`value` as Markdown shows it literally, on one line."""
    flat = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", value).strip()
    return re.sub(r"([\\`*_\[\]<>|~#&])", r"\\\1", flat)


def _code(value: str) -> str:
    return re.sub(r"[`|\s\x00-\x1f\x7f-\x9f]+", " ", value)
