from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import typer

from imp_deploy import bundle as bundles
from imp_deploy.cli.output import (
    JsonFlag,
    console,
    gib,
    note,
    numbers,
    print_json,
    progress_bar,
    table,
)

HELP = (
    "Convert an Imp checkpoint to GGUF files: the language model at 16, 8 and 4 bits, and the "
    "vision tower with its projector at each resolution."
)


def command(
    model: Annotated[str, typer.Argument(help="Checkpoint folder or hub id.")],
    out: Annotated[Path, typer.Argument(help="Folder for the bundle.")],
    bits: Annotated[str, typer.Option(help="Bits of the language model.")] = "16,8,4",
    resolution: Annotated[
        str | None,
        typer.Option(help="Image sides in pixels.", show_default="384,196 as far as possible"),
    ] = None,
    vision_bits: Annotated[int, typer.Option(help="Bits of the vision tower.")] = 16,
    vision_tower: Annotated[
        str | None, typer.Option(help="SigLIP folder or hub id, if the checkpoint has none.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the bundle.", show_default="the folder's")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.convert.export import export
    from imp_deploy.convert.hub import locate
    from imp_deploy.convert.plan import Options, check_name

    options = Options(
        bits=numbers(bits, (16, 8, 4), "--bits"),
        resolutions=numbers(resolution, None, "--resolution") if resolution else None,
        vision_bits=numbers(str(vision_bits), (16, 8, 4), "--vision-bits")[0],
        name=check_name(name) if name is not None else None,
    )
    began = time.monotonic()
    located = locate(model, vision_tower)
    with progress_bar() as bar:
        exported = export(
            located.folder,
            out,
            options,
            tower=located.tower,
            source_name=located.name,
            force=force,
            progress=bar,
        )
    if as_json:
        changes = {"written": list(exported.written), "kept": list(exported.kept)}
        notes = list(exported.notes)
        print_json({"bundle": bundles.to_json(exported.bundle), **changes, "notes": notes})
        return
    shown = table("file", "bits", "pixels", "tokens", "size", "")
    for file in exported.bundle.files:
        state = "written" if file.path in exported.written else "kept"
        values = dataclasses.asdict(file)
        shown.add_row(
            file.path,
            str(file.bits),
            *(str(values[k] or "") for k in ("resolution", "visual_tokens")),
            gib(file.bytes),
            state,
        )
    console.print(shown)
    for text in exported.notes:
        note(text)
    console.print(f"{out} is ready after {time.monotonic() - began:.1f} s.", highlight=False)
