"""Exit status and output of a command over a shell that gives neither of them cleanly.

Shells before version 2 of the protocol send one stream of bytes: no exit status, CRLF where a
terminal is in between, and whatever the linker or a login script prints around it. So the command
runs between two random markers, and what lies between them is its output.
"""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import dataclass

from imp_deploy.bench.device import Output


@dataclass(frozen=True)
class Frame:
    """`line` is what the device's shell gets; the markers as they come back."""

    command: str
    line: str
    begin: bytes
    end: re.Pattern[bytes]


def framed(command: str) -> Frame:
    """`eval` in a subshell, so that `exit`, `cd` and even a syntax error end the command and not
    the line that reports its status. Quotes inside the markers keep a shell that repeats the line
    in an error message from printing one."""
    token = secrets.token_hex(8)
    line = (
        f"echo imp'<'{token}; (eval {shlex.quote(command)}) </dev/null 2>&1; echo imp'>'{token}:$?:"
    )
    end = re.compile(rb"imp>" + token.encode() + rb":(\d+):")
    return Frame(command, line, b"imp<" + token.encode(), end)


def unframed(frame: Frame, received: bytes) -> Output | None:
    """None while the end marker is not there."""
    end = frame.end.search(received)
    if end is None:
        return None
    text = received[: end.start()]
    _, found, inside = text.partition(frame.begin)
    # The marker's own line ends before the command's first byte.
    inside = re.sub(rb"^\r*\n", b"", inside) if found else text
    return Output(frame.command, int(end[1]), lines(inside))


def lines(raw: bytes) -> str:
    """Text with `\\n` as line ends; a terminal gives `\\r\\n`, two of them give `\\r\\r\\n`."""
    return re.sub(r"\r+\n", "\n", raw.decode("utf-8", "replace"))
