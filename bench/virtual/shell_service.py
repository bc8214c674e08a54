"""The `shell:`, `exec:` and `shell,v2:` services: a command line, its streams and its exit status.

In version 2 the stream carries packets of a kind (one byte), a 32-bit length and data, which keep
stdout and stderr apart and end with the exit status; older services carry what was printed, only.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import threading
from dataclasses import dataclass
from typing import Protocol

from imp_deploy.bench.virtual.guest import Guest
from imp_deploy.bench.virtual.link import Closed, Stream

_PACKET = struct.Struct("<BI")
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN, _WINDOW = range(6)
_READ = 1 << 16


@dataclass(frozen=True)
class Request:
    """What a host asks for. Without `packets` stdout and stderr are one, and there is no status."""

    command: str
    packets: bool
    terminal: bool
    term: str


def parse(service: str) -> Request | None:
    """None when `service` is no shell."""
    head, _, command = service.partition(":")
    name, *options = head.split(",")
    if name not in ("shell", "exec"):
        return None
    term = next((o.removeprefix("TERM=") for o in options if o.startswith("TERM=")), "dumb")
    terminal = "pty" in options or (not command and name == "shell" and "raw" not in options)
    return Request(command, "v2" in options, terminal, term)


class Shells(Protocol):
    def start(self, command: str, *, terminal: bool, apart: bool, term: str) -> Guest: ...

    def printed(self, data: bytes) -> bytes:
        """What the host gets of what a command printed."""
        ...

    def before(self) -> bytes:
        """What a shell prints before the command's own output."""
        ...


def serve(stream: Stream, request: Request, shells: Shells) -> None:
    guest = shells.start(
        request.command, terminal=request.terminal, apart=request.packets, term=request.term
    )
    feeding = threading.Thread(target=_feed, args=(stream, request, guest), daemon=True)
    try:
        if noise := shells.before():
            stream.write(_wrapped(request, _STDOUT, noise))
        if request.terminal:
            guest.opened()
        feeding.start()
        _drain(stream, request, guest, shells)
        status = guest.status()
        if request.packets:
            stream.write(_wrapped(request, _EXIT, bytes([status & 0xFF])))
    except Closed:
        guest.hang_up()
    finally:
        guest.release()


def _wrapped(request: Request, kind: int, data: bytes) -> bytes:
    return _PACKET.pack(kind, len(data)) + data if request.packets else data


def _drain(stream: Stream, request: Request, guest: Guest, shells: Shells) -> None:
    """Passes on what the command prints until nobody can print any more."""
    kinds = {guest.stdout: _STDOUT}
    if guest.stderr is not None:
        kinds[guest.stderr] = _STDERR
    poll = select.poll()
    for handle in kinds:
        poll.register(handle, select.POLLIN)
    while kinds:
        for handle, _ in poll.poll(200):
            try:
                data = os.read(handle, _READ)
            except BlockingIOError:
                continue
            except OSError:  # a terminal whose last process has gone
                data = b""
            if data:
                stream.write(_wrapped(request, kinds[handle], shells.printed(data)))
            else:
                poll.unregister(handle)
                del kinds[handle]
        if stream.closed:
            raise Closed
        if guest.dead():
            for handle, kind in kinds.items():
                with contextlib.suppress(OSError):
                    while data := os.read(handle, _READ):
                        stream.write(_wrapped(request, kind, shells.printed(data)))
            return


def _feed(stream: Stream, request: Request, guest: Guest) -> None:
    """Passes on what the host sends, until it closes the command's stdin."""
    buffer = bytearray()
    with contextlib.suppress(Closed):
        while True:
            packet = stream.read()
            if not request.packets:
                guest.feed(packet)
                continue
            buffer += packet
            while len(buffer) >= _PACKET.size:
                kind, length = _PACKET.unpack_from(buffer)
                if len(buffer) < _PACKET.size + length:
                    break
                data = bytes(buffer[_PACKET.size : _PACKET.size + length])
                del buffer[: _PACKET.size + length]
                if kind == _STDIN:
                    guest.feed(data)
                elif kind == _CLOSE_STDIN:
                    guest.close_stdin()
                elif kind == _WINDOW:
                    guest.resize(data)
    guest.close_stdin()
