from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from imp_deploy.cli.output import JsonFlag, console, print_json, stderr

HELP = "Build the native runner for this machine."


class Target(StrEnum):
    host = "host"


def command(
    target: Annotated[Target, typer.Argument(help="What to build for.")] = Target.host,
    force: Annotated[bool, typer.Option("--force", help="Build again.")] = False,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.build import build_host

    with stderr.status(f"building the runner for the {target.value} ..."):
        program = build_host(force=force)
    if as_json:
        print_json({"target": target.value, "program": str(program)})
    else:
        console.print(f"{program}", highlight=False, soft_wrap=True)
