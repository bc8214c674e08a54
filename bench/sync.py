"""Files over adb's `sync:` service.

The loops of adbutils (4 KiB a write) and adb-shell (a Python sum over every byte) reach a fraction
of what the real `adb push` does; see bench/push_rate.py.
"""

from __future__ import annotations

import stat
import struct
import time
from collections.abc import Iterator
from typing import BinaryIO

from imp_deploy.bench.device import Advance, LinkLost
from imp_deploy.bench.stream import Stream, exactly

DATA_BYTES = 64 << 10
"""The most that adbd takes in one DATA message (SYNC_DATA_MAX in its sources)."""

WRITE_BYTES = 16 * DATA_BYTES
SILENCE = 30.0
"""Seconds without a byte after which the connection counts as lost."""

LAST_SILENCE = 120.0
"""Seconds that a phone may need to bring the last blocks of a big file to its flash."""


class Refused(Exception):
    """What the device said instead of taking or giving the file."""


def send(stream: Stream, path: str, mode: int, source: BinaryIO, advance: Advance) -> None:
    """Writes `source`, up to its end, to `path` with the permission bits `mode`; `stream` is an
    open `sync:` service. `Refused` with the device's words when it does not take it."""
    name = f"{path},{stat.S_IFREG | mode}".encode()
    try:
        stream.write(_request(b"SEND", name), SILENCE)
        while block := source.read(WRITE_BYTES):
            if stream.readable():  # it only speaks in between to say that it failed
                break
            stream.write(_data(block), SILENCE)
            advance(len(block))
        else:
            stream.write(struct.pack("<4sI", b"DONE", int(time.time())), SILENCE)
    except LinkLost:
        # A device that fails may close at once; its words may still be there to be read.
        if not stream.readable():
            raise
    _status(stream)


def receive(stream: Stream, path: str) -> Iterator[bytes]:
    """The pieces of the file `path`; `Refused` with the device's words when it cannot be read."""
    stream.write(_request(b"RECV", path.encode()), SILENCE)
    while True:
        kind, length = struct.unpack("<4sI", exactly(stream, 8, SILENCE))
        if kind == b"DONE":
            return
        if kind != b"DATA":
            raise _refused(stream, kind, length)
        yield exactly(stream, length, SILENCE)


def _request(kind: bytes, name: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(name)) + name


def _data(block: bytes) -> bytes:
    parts = []
    for offset in range(0, len(block), DATA_BYTES):
        part = block[offset : offset + DATA_BYTES]
        parts += [struct.pack("<4sI", b"DATA", len(part)), part]
    return b"".join(parts)


def _status(stream: Stream) -> None:
    kind, length = struct.unpack("<4sI", exactly(stream, 8, LAST_SILENCE))
    if kind != b"OKAY":
        raise _refused(stream, kind, length)


def _refused(stream: Stream, kind: bytes, length: int) -> Exception:
    if kind != b"FAIL" or length > 1 << 20:
        return LinkLost(f"the device answered {kind!r} where a status belongs")
    return Refused(exactly(stream, length, SILENCE).decode("utf-8", "replace"))
