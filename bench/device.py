"""What measuring needs of a device, whatever the way to it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from imp_deploy.errors import DeviceError
from imp_deploy.results import Kind

Advance = Callable[[int], None]
"""Called with the number of bytes that went over since the last call."""


class LinkLost(DeviceError):
    """The way to the device broke off; what runs on the device goes on, and a new connection may
    be tried."""


@dataclass(frozen=True)
class Output:
    """What a command printed (stdout and stderr, in the order in which they came, line ends as
    `\\n`) and its exit status; above 128 a signal ended it, as shells report it."""

    command: str
    status: int
    text: str

    def evidence(self) -> str:
        tail = "\n".join(self.text.strip().splitlines()[-12:])
        return f"`{self.command}` ended with status {self.status}:\n{tail}"


@dataclass(frozen=True)
class Stat:
    """A file on the device; `modified` in seconds since 1970, by the device's clock."""

    mode: int
    bytes: int
    modified: int


class Device(Protocol):
    """A connection to a device that is ready. Every method raises `LinkLost` when the connection
    breaks, and `DeviceError` with the serial, the command or path, and what the device said, for
    everything else. Not for use by two threads at once."""

    @property
    def kind(self) -> Kind: ...

    @property
    def serial(self) -> str: ...

    @property
    def name(self) -> str:
        """As `--device` takes it: `adb:SERIAL`, `tcp:HOST:PORT`, `usb:SERIAL`, `virtual` or
        `host`."""
        ...

    @property
    def root(self) -> str:
        """The folder that is ours on the device, absolute, not necessarily there yet. Programs in
        it can be started."""
        ...

    def shell(self, command: str, *, timeout: float = 30.0) -> Output:
        """Runs a line of POSIX shell to its end. Any exit status is a result, not an error; a
        command that takes longer than `timeout` seconds is a `DeviceError`."""
        ...

    def push(self, source: BinaryIO, target: str, *, mode: int, advance: Advance) -> None:
        """Writes `source`, up to its end, to the file `target`, replacing it. When this fails,
        `target` may hold a part."""
        ...

    def pull(self, source: str, target: Path) -> None:
        """Copies the file `source` to `target`, which gets its name when it is complete."""
        ...

    def stat(self, path: str) -> Stat | None:
        """None when there is no such file."""
        ...

    def reconnect(self) -> None:
        """Replaces a connection that broke by a new one to the same device; a `LinkLost` when
        there is no way to it (yet)."""
        ...

    def close(self) -> None:
        """Ends the connection; what was started on the device goes on."""
        ...


def quoted(arguments: Sequence[str]) -> str:
    """Arguments as one shell line; the shell parses it again, so each is quoted."""
    return shlex.join(arguments)


def checked(device: Device, command: str, *, timeout: float = 30.0) -> str:
    """What `command` printed; an exit status other than 0 is a `DeviceError` with the evidence."""
    output = device.shell(command, timeout=timeout)
    if output.status != 0:
        raise DeviceError(f"{device.name}: {output.evidence()}")
    return output.text
