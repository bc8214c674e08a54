"""ADB messages: a header of 24 bytes and a payload, as both sides send them.

A header is six little-endian 32-bit words: command, two arguments, payload length, payload sum
(0 from version 0x01000001 on), and the command with all bits inverted.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

VERSION_SUMS = 0x01000000
"""The last version in which a message carries the sum of its payload's bytes."""
VERSION = 0x01000001
MAX_PAYLOAD = 1 << 20

_HEADER = struct.Struct("<6I")


def _word(name: str) -> int:
    return int.from_bytes(name.encode(), "little")


CNXN, AUTH, OPEN = _word("CNXN"), _word("AUTH"), _word("OPEN")
OKAY, CLSE, WRTE = _word("OKAY"), _word("CLSE"), _word("WRTE")

AUTH_TOKEN, AUTH_SIGNATURE, AUTH_PUBLIC_KEY = 1, 2, 3


class Broken(Exception):
    """The other side is gone, or sent what is no ADB."""


@dataclass(frozen=True)
class Message:
    command: int
    first: int
    second: int
    payload: bytes | bytearray


def packed(
    command: int, first: int, second: int, payload: bytes | memoryview, *, sums: bool
) -> bytes:
    """A header; the payload follows it on the wire as it is."""
    total = sum(payload) & 0xFFFFFFFF if sums else 0
    return _HEADER.pack(command, first, second, len(payload), total, command ^ 0xFFFFFFFF)


def receive(link: socket.socket, count: Callable[[int], None]) -> Message:
    """The next message; `Broken` at the end of the connection. `count` is told every part that
    arrives, in bytes."""
    header = _exactly(link, _HEADER.size, count)
    command, first, second, length, _, magic = _HEADER.unpack(header)
    if magic != command ^ 0xFFFFFFFF or length > MAX_PAYLOAD:
        raise Broken(f"no ADB message: command {command:#x}, length {length}")
    return Message(command, first, second, _exactly(link, length, count) if length else b"")


def _exactly(link: socket.socket, length: int, count: Callable[[int], None]) -> bytearray:
    buffer = bytearray(length)
    view, have = memoryview(buffer), 0
    while have < length:
        try:
            got = link.recv_into(view[have:])
        except OSError as error:
            raise Broken(str(error)) from None
        if got == 0:
            raise Broken("the other side closed the connection")
        have += got
        count(got)
    return buffer
