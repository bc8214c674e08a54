from __future__ import annotations

import dataclasses

from rich.text import Text

from imp_deploy.cli.output import JsonFlag, console, gib, print_json, stderr, table

HELP = "Show what can be measured on, and for what cannot be used why not."


def command(as_json: JsonFlag = False) -> None:
    from imp_deploy.bench.listing import listing

    with stderr.status("looking for devices ..."):
        found = listing()
    if as_json:
        print_json({"devices": [dataclasses.asdict(entry) for entry in found]})
        return
    shown = table("device")
    shown.columns[0].no_wrap = True  # a name that is folded cannot be copied
    shown.add_column("model, SoC, system", overflow="fold")
    for column in ("battery", "free", "state"):
        shown.add_column(column, no_wrap=True)
    for entry in found:
        battery = "" if entry.battery_percent is None else f"{entry.battery_percent} %"
        free = "" if entry.free_bytes is None else gib(entry.free_bytes)
        # Makers write their name into some models and not into others.
        model = entry.model
        if entry.manufacturer.lower() not in model.lower():
            model = f"{entry.manufacturer} {model}"
        style = "green" if entry.state == "ready" else "yellow"
        state = Text(entry.state, style=style)
        what = ", ".join(filter(None, (model, entry.soc, entry.os)))
        shown.add_row(entry.name, what, battery, free, state)
    console.print(shown)
    for entry in found:
        if entry.reason:
            line = Text.assemble((entry.name, "bold"), ": ", entry.reason, " ", entry.cure)
            console.print(line, highlight=False, soft_wrap=True)
