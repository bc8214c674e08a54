from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from imp_deploy.bench.virtual.faults import FAULTS, parse
from imp_deploy.bench.virtual.power import Running, powered
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.bench.virtual.socs import SOCS
from imp_deploy.cli.output import JsonFlag, console, print_json, stderr
from imp_deploy.errors import BadInput, DeviceError, Interrupted

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_TABLE = "\n\n".join(
    f"{escape(name + ('=' + kind.value if kind.value else ''))}: {kind.help}"
    for name, kind in FAULTS.items()
)
HELP = f"Serve a virtual phone on loopback until interrupted.\n\nFaults, for --fault:\n\n{_TABLE}"


def command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0: a free one.")] = 5555,
    folder: Annotated[
        Path | None, typer.Option(help="Keeps the phone's disk; default: in the cache folder.")
    ] = None,
    soc: Annotated[str, typer.Option(help="SM8650 or SM8350 (without i8mm).")] = "SM8650",
    disk: Annotated[str, typer.Option(help="Size of its disk, such as 500M or 64G.")] = "64G",
    faults: Annotated[
        list[str] | None, typer.Option("--fault", metavar="NAME[=VALUE]", help="What goes wrong.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    if soc not in SOCS:
        raise typer.BadParameter(f"{soc!r} is not one of {', '.join(SOCS)}", param_hint="--soc")
    settings = Settings(
        folder=folder,
        port=port,
        soc=soc,
        disk_bytes=_bytes(disk),
        faults=tuple(_checked(fault) for fault in faults or ()),
    )
    try:
        with powered(settings) as phone:
            _say(phone, soc, as_json=as_json)
            phone.wait()
    except Interrupted:
        stderr.print("The virtual phone is off.", style="dim")
        return
    raise DeviceError(
        f"The virtual phone ended by itself; what it said is in {phone.folder / 'log'}."
    )


def _say(phone: Running, soc: str, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "host": phone.host,
                "port": phone.port,
                "serial": phone.serial,
                "folder": str(phone.folder),
            }
        )
    else:
        for line in (
            f"A virtual {soc} is at {phone.serial}; its files are in {phone.folder}.",
            f"Measure on it: imp-deploy bench BUNDLE --device tcp:{phone.serial}",
            f"Talk to it: adb connect {phone.serial}",
            "Ctrl+C switches it off.",
        ):
            console.print(line, highlight=False, soft_wrap=True)
    console.file.flush()


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KMGT]?)(i?B)?", text.strip(), re.IGNORECASE)
    if found is None or int(found[1]) == 0:
        raise typer.BadParameter(f"{text!r} is no size such as 500M or 64G", param_hint="--disk")
    return int(found[1]) * _UNITS[found[2].upper()]


def _checked(fault: str) -> str:
    try:
        parse(fault)
    except BadInput as error:
        raise typer.BadParameter(str(error), param_hint="--fault") from None
    return fault
