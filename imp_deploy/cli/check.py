from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from imp_deploy.cli.output import JsonFlag, console, note, print_json, progress_bar
from imp_deploy.errors import BadInput, CheckFailed, Undecided

if TYPE_CHECKING:
    from imp_deploy.bench.check.figures import Kind
    from imp_deploy.bench.check.rows import Row

HELP = "Compare sizes, accuracy, quality and speed with a baseline: the gate for CI."

_STYLES = {
    "regressed": "bold red",
    "incomparable": "yellow",
    "inconclusive": "yellow",
    "improved": "green",
    "ok": "dim",
}


def command(
    candidate: Annotated[
        Path, typer.Argument(help="A folder with a bundle and results, or one such file.")
    ],
    baseline: Annotated[Path, typer.Option(help="The file to compare with, or to write.")],
    update: Annotated[
        bool, typer.Option("--update", help="Write the candidate's figures as the new baseline.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            help="Kinds to look at: size, accuracy, quality, speed.", show_default="all four"
        ),
    ] = None,
    growth: Annotated[float, typer.Option(min=0, help="Percent by which a file may grow.")] = 0.5,
    drop: Annotated[
        float,
        typer.Option(
            min=0.001, help="Points of accuracy that count; twice as many must be ruled out."
        ),
    ] = 1.0,
    slowdown: Annotated[float, typer.Option(min=0.001, help="Percent of speed that count.")] = 5.0,
    markdown: Annotated[
        Path | None, typer.Option(help="Write a summary for a CI job page.", show_default="none")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="Write JUnit XML.", show_default="none")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.bench.check import baseline as baselines
    from imp_deploy.bench.check import junit as junit_form
    from imp_deploy.bench.check import markdown as markdown_form
    from imp_deploy.bench.check import words
    from imp_deploy.bench.check.candidate import find
    from imp_deploy.bench.check.compare import compare
    from imp_deploy.bench.check.rows import Limits, counts, verdict

    kinds = _kinds(only)
    if not all(map(math.isfinite, (growth, drop, slowdown))):
        raise typer.BadParameter("is no finite number", param_hint="--growth, --drop or --slowdown")
    if update:
        if markdown or junit:
            raise typer.BadParameter(
                "compares nothing, leave --markdown and --junit", param_hint="--update"
            )
        written = baselines.update(baseline, find(candidate, kinds, note=note), kinds)
        found = {kind: len(getattr(written, kind)) for kind in kinds}
        if as_json:
            print_json({"baseline": str(baseline), "updated": True, "figures": found})
        else:
            told = ", ".join(f"{kind} {count}" for kind, count in found.items())
            console.print(f"{baseline} is written: {told}.", highlight=False, soft_wrap=True)
        return
    _require_places(candidate, baseline, markdown, junit)
    before, after = baselines.load(baseline), find(candidate, kinds, note=note)
    limits = Limits(growth=growth, drop=drop, slowdown=slowdown)
    with progress_bar("steps") as bar:
        rows = compare(before, after, kinds=kinds, limits=limits, progress=bar)
    if markdown is not None:
        _write(markdown, markdown_form.render(rows).encode())
    if junit is not None:
        _write(junit, junit_form.render(rows))
    state = verdict(rows)
    if as_json:
        print_json(
            {
                "verdict": state,
                "counts": counts(rows),
                "candidate": str(candidate),
                "baseline": str(baseline),
                "rows": [dataclasses.asdict(row) for row in rows],
            }
        )
    else:
        _show(rows)
    if state == "regressed":
        raise CheckFailed(f"{words.headline(rows)}; {_first(rows)}")
    if state == "undecided":
        raise Undecided(f"{words.headline(rows)}; {_first(rows)}")


def _kinds(only: str | None) -> tuple[Kind, ...]:
    from imp_deploy.bench.check.figures import KINDS

    if only is None:
        return KINDS
    asked = [part.strip() for part in only.split(",")]
    if unknown := [part for part in asked if part not in KINDS]:
        raise typer.BadParameter(
            f"{unknown[0]!r} is not one of {', '.join(KINDS)}", param_hint="--only"
        )
    return tuple(kind for kind in KINDS if kind in asked)


def _require_places(
    candidate: Path, baseline: Path, markdown: Path | None, junit: Path | None
) -> None:
    """Before the work, that the reports can be written after it, and over nothing that was read."""
    reports = [path for path in (markdown, junit) if path is not None]
    for path in reports:
        if path.is_dir():
            raise BadInput(f"{path} is a folder; give the name of a file.")
        if not path.parent.is_dir():
            raise BadInput(f"{path.parent} is no folder; create it, or choose another place.")
        if path.resolve() in (baseline.resolve(), candidate.resolve()):
            raise BadInput(f"{path} is compared, and not to be written over; give another name.")
    if markdown is not None and junit is not None and markdown.resolve() == junit.resolve():
        raise BadInput(f"{markdown} cannot be both reports; give --junit another name.")


def _write(path: Path, content: bytes) -> None:
    from imp_deploy.files import write_atomic

    write_atomic(path, content)


def _show(rows: Sequence[Row]) -> None:
    """A table that fits 80 columns, and below it a sentence for each row that is not ok."""
    from imp_deploy.bench.check import words

    shared = _shared([row.subject for row in rows])
    shown = Table(box=None, pad_edge=False, title=shared or None, title_justify="left")
    shown.add_column("answer", no_wrap=True)
    shown.add_column("what", overflow="fold")
    for title in ("baseline", "candidate", "change", "evidence"):
        shown.add_column(title, no_wrap=True, justify="right")
    for row in rows:
        shown.add_row(
            row.answer,
            words.name(row)[len(shared) :],
            words.value(row, row.baseline),
            words.value(row, row.candidate),
            words.change(row),
            words.evidence(row),
            style=_STYLES[row.answer],
        )
    console.print(shown, highlight=False)
    for answer, name, reason in words.told(rows):
        console.print()
        line = Text.assemble((answer, _STYLES[answer]), f" {name}: {reason}")
        console.print(line, highlight=False)
    console.print()
    console.print(f"{words.headline(rows)}.", highlight=False)


def _shared(subjects: Sequence[str]) -> str:
    """The words with which several subjects begin, as a rule the bundle's name."""
    if len(set(subjects)) < 2:
        return ""
    columns = zip(*(subject.split(" ") for subject in subjects), strict=False)
    words = [column[0] for column in itertools.takewhile(lambda c: len(set(c)) == 1, columns)]
    return "".join(f"{word} " for word in words)


def _first(rows: Sequence[Row]) -> str:
    """The worst row, in the sentence that says what to do."""
    from imp_deploy.bench.check import words

    return f"{words.name(rows[0])}: {rows[0].reason}"
