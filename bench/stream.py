"""A way to a phone's services, through a server or directly: what the two have in common."""

from __future__ import annotations

from typing import Protocol

from imp_deploy.bench.device import LinkLost


class Stream(Protocol):
    """One open service, in both directions. A break is a `LinkLost`; silence for longer than
    `timeout` seconds is a `TimeoutError`."""

    def read(self, count: int, timeout: float) -> bytes:
        """Between 1 and `count` bytes; none when the other side closed."""
        ...

    def readable(self) -> bool:
        """Whether something may be read at once."""
        ...

    def write(self, data: bytes | memoryview, timeout: float) -> None: ...

    def close(self) -> None: ...


class Link(Protocol):
    """`longest_service`: bytes that the name of a service may have, its command line included."""

    @property
    def longest_service(self) -> int: ...

    def open(self, service: str, timeout: float) -> Stream: ...

    def reconnect(self) -> None: ...

    def close(self) -> None: ...


def exactly(stream: Stream, count: int, timeout: float) -> bytes:
    """`count` bytes; an end before that is a `LinkLost`."""
    parts = bytearray()
    while len(parts) < count:
        part = stream.read(count - len(parts), timeout)
        if not part:
            raise LinkLost("the connection was closed")
        parts += part
    return bytes(parts)
