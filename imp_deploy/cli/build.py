from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from imp_deploy.cli.output import JsonFlag, console, print_json, progress_bar

HELP = (
    "Build the native runner: for this machine, for phones (android: two programs, for processors "
    "with and without i8mm; no NDK needed), or for phones with the NDK and OpenCL (android-ndk)."
)


class What(StrEnum):
    host = "host"
    android = "android"
    android_ndk = "android-ndk"


def command(
    target: Annotated[What, typer.Argument(help="What to build for.")] = What.host,
    force: Annotated[bool, typer.Option("--force", help="Build again.")] = False,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.build.host import build_host
    from imp_deploy.build.phone import build_phones
    from imp_deploy.build.target import NDK, TARGETS

    with progress_bar(of="steps") as progress:
        if target is What.host:
            program = build_host(force=force, progress=progress)
            programs = [{"target": target.value, "program": str(program)}]
        else:
            targets = TARGETS if target is What.android else (NDK,)
            built = build_phones(targets, force=force, progress=progress)
            programs = [
                {"target": b.target, "program": str(b.program), "sha256": b.sha256} for b in built
            ]
    if as_json:
        print_json(programs[0] if target is What.host else {"programs": programs})
        return
    for entry in programs:
        console.print(f"{entry['target']}: {entry['program']}", highlight=False, soft_wrap=True)
