from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imp_deploy.cli.output import JsonFlag, console, print_json

HELP = "Write the demo checkpoint, a tiny Imp that answers questions about drawn shapes."


def command(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.demo.write import write_demo

    written = write_demo(folder, force=force)
    if as_json:
        print_json({"checkpoint": str(written.checkpoint), "examples": written.examples})
        return
    console.print(f"Checkpoint: {written.checkpoint}", highlight=False, soft_wrap=True)
    for example in written.examples:
        console.print(
            f"{example['image']}: {example['question']} ({example['answer']})",
            highlight=False,
            soft_wrap=True,
        )
