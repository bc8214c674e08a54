from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from imp_deploy.cli.output import JsonFlag, console, note, print_json

HELP = (
    "Turn results of `bench`, `eval` and `quality` into Markdown, CSV or one HTML page, beside the "
    "paper's figures."
)


class Format(StrEnum):
    md = "md"
    html = "html"
    csv = "csv"


def command(
    results: Annotated[list[Path], typer.Argument(help="Result files, or folders that hold them.")],
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Of the report.", show_default="as --out ends, or md"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="standard output")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.bench.report.write import gather, render, save, to_json

    shown = gather(results, note=note)
    chosen = form or _by_ending(out)
    if out is not None:
        written = save(out, render(shown, chosen.value), force=force)
        if not as_json:
            state = "is written" if written else "holds this report already"
            console.print(f"{out} {state}.", highlight=False, soft_wrap=True)
    elif not as_json:
        # As bytes: the page says that it is UTF-8, whatever the terminal is.
        typer.echo(render(shown, chosen.value).encode(), nl=False)
    if as_json:
        print_json({**to_json(shown), "out": None if out is None else str(out)})
    for group in shown.groups:
        if group.emulated:
            note(f"{group.hardware}: its times say nothing about a phone.")


def _by_ending(out: Path | None) -> Format:
    ending = out.suffix.lower() if out is not None else ""
    return {".html": Format.html, ".htm": Format.html, ".csv": Format.csv}.get(ending, Format.md)
