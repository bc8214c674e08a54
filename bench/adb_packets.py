"""Streams over a direct connection to a phone: OPEN, OKAY, WRTE and CLSE packets.

adb-shell connects and authorises. Its own streams compute the packets' sums in a Python loop and
drop what a full socket does not take; these here do neither.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from imp_deploy.bench.device import LinkLost

_HEADER = struct.Struct("<4s5I")
_LATE_SECONDS = 10.0
"""How long the rest of a packet, or the answer to a written one, may take."""


class Transport(Protocol):
    """What adb-shell's transports have: `bulk_read` gives at least one byte."""

    def bulk_read(self, numbytes: int, transport_timeout_s: float) -> bytes: ...

    def bulk_write(self, data: bytes | memoryview, transport_timeout_s: float) -> int: ...


@dataclass
class Packets:
    """The packets of one connection, for one stream at a time. `largest`: bytes of data that the
    phone takes in one packet. `failure` turns a transport's exception into a `LinkLost`, or into a
    `TimeoutError` when nothing came."""

    transport: Transport
    largest: int
    failure: Callable[[Exception], Exception]
    broken: str = ""
    last_id: int = 0
    buffered: dict[int, bytearray] = field(default_factory=dict)

    def open(self, service: str, timeout: float) -> PacketStream:
        self.last_id += 1
        stream = PacketStream(self, self.last_id)
        self.buffered = {stream.local: bytearray()}
        self.send(b"OPEN", stream.local, 0, service.encode() + b"\0", timeout)
        stream.wait_okay(timeout)
        return stream

    def send(
        self, kind: bytes, local: int, remote: int, data: bytes | memoryview, timeout: float
    ) -> None:
        if self.broken:
            raise LinkLost(self.broken)
        word = int.from_bytes(kind, "little")
        header = _HEADER.pack(kind, local, remote, len(data), _sum(data), word ^ 0xFFFFFFFF)
        try:
            self._write(header, timeout)
            if data:
                self._write(data, timeout)
        except Exception as error:
            # A packet that went over in part cannot be taken back.
            raise self.lost(str(self.failure(error)) or "the phone takes no more data") from None

    def _write(self, data: bytes | memoryview, timeout: float) -> None:
        if self.transport.bulk_write(data, timeout) != len(data):
            raise LinkLost("a packet went over in part")

    def receive(self, timeout: float) -> tuple[bytes, int, int, bytes]:
        """The next packet: kind, the phone's id, our id, data."""
        if self.broken:
            raise LinkLost(self.broken)
        header = self._exactly(_HEADER.size, timeout, begun=False)
        kind, remote, local, length, _, _ = _HEADER.unpack(header)
        if length > 1 << 24:
            raise self.lost(f"a packet of {length} bytes came")
        return kind, remote, local, self._exactly(length, _LATE_SECONDS, begun=True)

    def _exactly(self, count: int, timeout: float, *, begun: bool) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            begun = begun or bool(parts)
            try:
                part = self.transport.bulk_read(
                    count - len(parts), _LATE_SECONDS if begun else timeout
                )
            except Exception as error:
                failure = self.failure(error)
                if isinstance(failure, TimeoutError) and not begun:
                    raise failure from None
                raise self.lost(str(failure) or "half a packet came") from None
            if not part:
                raise self.lost("the phone closed the connection")
            parts += part
        return bytes(parts)

    def lost(self, reason: str) -> LinkLost:
        """Nothing goes over this connection from now on."""
        self.broken = reason
        return LinkLost(reason)


@dataclass
class PacketStream:
    packets: Packets
    local: int
    remote: int = 0
    closed: bool = False
    acknowledged: bool = False

    def read(self, count: int, timeout: float) -> bytes:
        buffer = self.packets.buffered.get(self.local, bytearray())
        deadline = time.monotonic() + timeout
        while not buffer and not self.closed:
            self._take(max(0.001, deadline - time.monotonic()))
        part = bytes(buffer[:count])
        del buffer[:count]
        return part

    def readable(self) -> bool:
        return bool(self.packets.buffered.get(self.local)) or self.closed

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        """The next packet goes out when the phone has confirmed the last one."""
        view = memoryview(data)
        for offset in range(0, len(data), self.packets.largest):
            if self.closed:
                raise LinkLost("the phone closed the stream")
            part = view[offset : offset + self.packets.largest]
            self.packets.send(b"WRTE", self.local, self.remote, part, timeout)
            self.wait_okay(timeout)

    def close(self) -> None:
        if not self.closed and not self.packets.broken:
            self.closed = True
            try:
                self.packets.send(b"CLSE", self.local, self.remote, b"", _LATE_SECONDS)
            except LinkLost:
                return

    def wait_okay(self, timeout: float) -> None:
        self.acknowledged = False
        deadline = time.monotonic() + timeout
        while not self.acknowledged:
            if self.closed:
                raise LinkLost("the phone closed the stream")
            self._take(max(0.001, deadline - time.monotonic()))

    def _take(self, timeout: float) -> None:
        kind, remote, local, data = self.packets.receive(timeout)
        if local != self.local:
            # What a stream of before still had to say; the phone is told that nobody listens.
            if kind in (b"WRTE", b"OKAY") and local:
                self.packets.send(b"CLSE", local, remote, b"", _LATE_SECONDS)
            return
        if kind == b"OKAY":
            self.remote = remote
            self.acknowledged = True
        elif kind == b"WRTE":
            self.packets.buffered[self.local] += data
            self.packets.send(b"OKAY", self.local, remote, b"", _LATE_SECONDS)
        elif kind == b"CLSE":
            self.closed = True


def _sum(data: bytes | memoryview) -> int:
    """Of all bytes, modulo 2^32."""
    return int(np.frombuffer(data, np.uint8).sum(dtype=np.uint32))
