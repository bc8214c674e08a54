"""Reads the list of devices that an adb server gives: `host:devices-l`, or `adb devices -l`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"(?P<serial>\S+)\s+(?P<state>no permissions(?: \(.*?\))?(?:; see \[.*?\])?|[a-z]+)"
    r"(?P<rest>(?:\s+[\w-]+:\S*|\s+\d+-[\d.]+)*)\s*"
)
_STATES = (
    "authorizing",
    "bootloader",
    "connecting",
    "device",
    "host",
    "no permissions",
    "offline",
    "recovery",
    "rescue",
    "sideload",
    "unauthorized",
    "unknown",
)


@dataclass(frozen=True)
class Entry:
    """`model` with spaces, as the phone's maker wrote it; "" where the server does not tell."""

    serial: str
    state: str
    model: str = ""


def parse_devices(text: str) -> tuple[Entry, ...]:
    """One entry per device line. What else may stand there is passed over: the header, the lines
    about a daemon that starts or a server of another version, empty lines; the last line may lack
    its end."""
    entries = []
    for line in text.replace("\r", "").split("\n"):
        match = _LINE.fullmatch(line.strip())
        if match is None or match["serial"] in ("*", "List"):
            continue
        state = "no permissions" if match["state"].startswith("no ") else match["state"]
        if state not in _STATES:
            continue
        model = re.search(r"\bmodel:(\S+)", match["rest"])
        entries.append(Entry(match["serial"], state, model[1].replace("_", " ") if model else ""))
    return tuple(entries)
