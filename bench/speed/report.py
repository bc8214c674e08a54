"""What a benchmark keeps and shows: raw runs in a JSON file, a table for docs/performance.md."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imp_deploy import llama
from imp_deploy.bench.speed.figures import Figures, figures
from imp_deploy.bench.speed.machine import Machine, describe
from imp_deploy.files import write_json_atomic

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`row` over `base`, of the medians of what is measured; `target`: at most this, None where the
    row is there for information."""

    row: str
    base: str
    target: float | None = None


@dataclass(kw_only=True)
class Report:
    """`runs`: per row, one mapping per run, all with the same keys; `measured` is the key of the
    seconds that are compared, `beside` are keys whose medians stand in the table, with the heading
    of each. `notes`: sentences under the table."""

    benchmark: str
    measured: str
    beside: Mapping[str, str]
    comparisons: Sequence[Comparison]
    machine: Machine
    llama_cpp: str
    command: str
    date: str
    runs: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, row: str, run: dict[str, float]) -> None:
        self.runs.setdefault(row, []).append(run)

    def of(self, row: str, key: str) -> Figures:
        return figures([run[key] for run in self.runs[row]])


def begin(
    benchmark: str,
    folder: Path,
    *,
    measured: str,
    beside: Mapping[str, str],
    comparisons: Sequence[Comparison],
) -> Report:
    """A report without runs, of this machine and this command."""
    return Report(
        benchmark=benchmark,
        measured=measured,
        beside=beside,
        comparisons=comparisons,
        machine=describe(folder),
        llama_cpp=llama.lock().commit,
        command=command(benchmark, sys.argv[1:]),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


def command(benchmark: str, arguments: Sequence[str]) -> str:
    """What somebody else types: without the places on this machine, which change no figure."""
    kept, given = [], iter(arguments)
    for argument in given:
        if argument in ("--folder", "--out"):
            next(given, None)
        elif not argument.startswith(("--folder=", "--out=")):
            kept.append(argument)
    return shlex.join(["python", "-m", f"imp_deploy.bench.speed.{benchmark}", *kept])


def save(report: Report, path: Path) -> None:
    """Raw runs and figures; called after every run, because losing them is worse."""
    value: dict[str, Any] = {"schema": SCHEMA, **dataclasses.asdict(report)}
    value["figures"] = {
        row: {key: dataclasses.asdict(report.of(row, key)) for key in runs[0]}
        for row, runs in report.runs.items()
    }
    value["ratios"] = [
        dataclasses.asdict(c) | {"ratio": quotient(report, c)} for c in present(report)
    ]
    write_json_atomic(path, value)


def present(report: Report) -> list[Comparison]:
    """The comparisons of which both rows were measured."""
    return [c for c in report.comparisons if c.row in report.runs and c.base in report.runs]


def quotient(report: Report, comparison: Comparison) -> float:
    key = report.measured
    return report.of(comparison.row, key).median / report.of(comparison.base, key).median


def markdown(report: Report) -> str:
    """The table with machine, command, date and notes, to be pasted into docs/performance.md. What
    others are compared with should stand above them: its ratio is 1."""
    head = [
        "",
        "seconds, median",
        "middle half",
        "min to max",
        *report.beside.values(),
        "ratio of medians",
    ]
    lines = [_line(head), _line(["---"] * len(head))]
    ratios = {c.row: c for c in present(report)}
    bases = {c.base for c in ratios.values()}
    for row in report.runs:
        time = report.of(row, report.measured)
        cells = [row, _number(time.median)]
        cells.append(f"{_number(time.quarter)} to {_number(time.three_quarters)}")
        cells.append(f"{_number(time.low)} to {_number(time.high)}")
        cells += [_number(report.of(row, key).median) for key in report.beside]
        cells.append(_ratio(report, ratios[row]) if row in ratios else "1" if row in bases else "")
        lines.append(_line(cells))
    counts = sorted({len(runs) for runs in report.runs.values()})
    lines += [
        "",
        f"Runs of each row: {' or '.join(map(str, counts))}, by turns, on {report.date}, with "
        f"`{report.command}`; llama.cpp {report.llama_cpp}. {report.machine.sentence()}.",
        "",
    ]
    lines += [f"- {note}" for note in report.notes]
    return "\n".join(lines)


def _ratio(report: Report, comparison: Comparison) -> str:
    value = f"{quotient(report, comparison):.2f}"
    return value if comparison.target is None else f"**{value}** (target {comparison.target:.2f})"


def _number(value: float) -> str:
    """Three digits or more: the last one that is shown is noise already."""
    places = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1.5 else 4
    return f"{value:.{places}f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
