"""Files over adb's `sync:` service.

Over loopback, the loop of adbutils (4 KiB a write) reached half of what the real `adb push` does,
and adb-shell's (a Python sum over every byte) a fifth; this one is as fast: bench/push_rate.py.
"""

from __future__ import annotations

import stat
import struct
import time
from collections.abc import Iterator
from typing import BinaryIO

from imp_deploy.bench.device import Advance, LinkLost
from imp_deploy.bench.stream import Stream, exactly

_HEAD = struct.Struct("<4sI")

DATA_BYTES = (64 << 10) - _HEAD.size
"""adbd takes 64 KiB in one DATA message (SYNC_DATA_MAX in its sources); with its head, this one
has a size that packets are a multiple of."""

_MESSAGES = 4
"""In one write: few calls, and the buffer stays in the processor's cache."""
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
        messages = bytearray(_MESSAGES * (_HEAD.size + DATA_BYTES))
        while count := _fill(source, messages):
            if stream.readable():  # it only speaks in between to say that it failed
                break
            size = count + -(-count // DATA_BYTES) * _HEAD.size
            stream.write(memoryview(messages)[:size], SILENCE)
            advance(count)
        else:
            stream.write(_HEAD.pack(b"DONE", int(time.time())), SILENCE)
    except LinkLost:
        # A device that fails may close at once; its words may still be there to be read.
        if not stream.readable():
            raise
    _status(stream)


def receive(stream: Stream, path: str) -> Iterator[bytes]:
    """The pieces of the file `path`; `Refused` with the device's words when it cannot be read."""
    stream.write(_request(b"RECV", path.encode()), SILENCE)
    while True:
        kind, length = _HEAD.unpack(exactly(stream, 8, SILENCE))
        if kind == b"DONE":
            return
        if kind != b"DATA":
            raise _refused(stream, kind, length)
        yield exactly(stream, length, SILENCE)


def _request(kind: bytes, name: bytes) -> bytes:
    return _HEAD.pack(kind, len(name)) + name


def _fill(source: BinaryIO, messages: bytearray) -> int:
    """Fills `messages` with DATA messages, all of them full but the last, read straight into their
    place; the number of bytes that came from the file."""
    view = memoryview(messages)
    total = 0
    for offset in range(0, len(messages), _HEAD.size + DATA_BYTES):
        body = view[offset + _HEAD.size : offset + _HEAD.size + DATA_BYTES]
        count = 0
        while count < DATA_BYTES and (more := _read_into(source, body[count:])):
            count += more
        if count:
            _HEAD.pack_into(messages, offset, b"DATA", count)
        total += count
        if count < DATA_BYTES:
            break
    return total


def _read_into(source: BinaryIO, place: memoryview) -> int:
    read_into = getattr(source, "readinto", None)
    if read_into is not None:
        return int(read_into(place))
    part = source.read(len(place))
    place[: len(part)] = part
    return len(part)


def _status(stream: Stream) -> None:
    kind, length = _HEAD.unpack(exactly(stream, 8, LAST_SILENCE))
    if kind != b"OKAY":
        raise _refused(stream, kind, length)


def _refused(stream: Stream, kind: bytes, length: int) -> Exception:
    if kind != b"FAIL" or length > 1 << 20:
        return LinkLost(f"the device answered {kind!r} where a status belongs")
    return Refused(exactly(stream, length, SILENCE).decode("utf-8", "replace"))
