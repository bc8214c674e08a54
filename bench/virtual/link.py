"""One ADB connection, seen from the phone: the handshake, and streams that share the connection.

A stream may send its next packet only when the other side has acknowledged the last one. We
acknowledge a packet as soon as it is queued, up to `_AHEAD` packets, so that the next one is on its
way while a file is written.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from imp_deploy.bench.virtual import keys
from imp_deploy.bench.virtual import protocol as adb

_AHEAD = 4


class Closed(Exception):
    """The other side closed the stream, or the connection is gone."""


class Stream:
    """One service on a connection. One thread reads and one thread writes."""

    def __init__(self, link: Link, local: int, remote: int) -> None:
        self._link = link
        self._local = local
        self._remote = remote
        self._change = threading.Condition()
        self._queue: deque[bytes | bytearray] = deque()
        self._owed = 0
        self._may_write = True
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def read(self) -> bytes | bytearray:
        """The next packet; `Closed` when there will be none."""
        with self._change:
            while not self._queue and not self._closed:
                self._change.wait()
            if not self._queue:
                raise Closed
            packet = self._queue.popleft()
            owed, self._owed = self._owed, 0
        if owed:
            self._link.send(adb.OKAY, self._local, self._remote)
        return packet

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends everything, in packets; `Closed` when it cannot."""
        view = memoryview(data)
        for start in range(0, len(view), self._link.largest):
            with self._change:
                while not self._may_write and not self._closed:
                    self._change.wait()
                if self._closed:
                    raise Closed
                self._may_write = False
            packet = view[start : start + self._link.largest]
            self._link.send(adb.WRTE, self._local, self._remote, packet)

    def close(self) -> None:
        """Waits until what was written has arrived, then closes."""
        with self._change:
            while not self._may_write and not self._closed:
                self._change.wait()
            if self._closed:
                return
        self.end(tell=True)

    def end(self, *, tell: bool) -> None:
        with self._change:
            if self._closed:
                return
            self._closed = True
            self._change.notify_all()
        self._link.forget(self._local)
        if tell:
            with contextlib.suppress(Closed):
                self._link.send(adb.CLSE, self._local, self._remote)

    def arrived(self, packet: bytes | bytearray) -> None:
        with self._change:
            self._queue.append(packet)
            ahead = len(self._queue) <= _AHEAD
            self._owed += not ahead
            self._change.notify_all()
        if ahead:
            self._link.send(adb.OKAY, self._local, self._remote)

    def acknowledged(self) -> None:
        with self._change:
            self._may_write = True
            self._change.notify_all()


class Side(Protocol):
    """What a connection needs of the phone."""

    def banner(self) -> str: ...

    def authorises(self, payload: bytes, gone: Callable[[], bool]) -> bool:
        """Whether the person at the phone accepts this public key; may take long."""
        ...

    def needs_key(self) -> bool: ...

    def known_keys(self) -> tuple[keys.PublicKey, ...]: ...

    def service(self, name: str) -> Callable[[Stream], None] | None:
        """What runs on a stream; None when there is no such service."""
        ...

    def received(self, count: int) -> None:
        """Bytes that arrived; raises `Broken` where the link ends there."""
        ...

    def sent(self, count: int) -> None: ...


class Link:
    """A connection; `run` serves it to its end."""

    def __init__(self, connection: socket.socket, side: Side) -> None:
        self._socket = connection
        self._side = side
        self._sending = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._table = threading.Lock()
        self._next = 1
        self._sums = True
        self._gone = False
        self.largest = 4096

    def run(self) -> None:
        try:
            self._handshake()
            while True:
                self._handle(self._receive())
        except (adb.Broken, Closed):
            pass
        finally:
            self.cut()
            with self._table:
                streams = list(self._streams.values())
            for stream in streams:
                stream.end(tell=False)

    def cut(self) -> None:
        """Breaks the connection off, in the middle of whatever is on its way: the host's side gets
        a reset, not an end."""
        self._gone = True
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._socket.shutdown(socket.SHUT_RD)
        self._socket.close()

    def send(
        self, command: int, first: int, second: int, payload: bytes | memoryview = b""
    ) -> None:
        header = adb.packed(command, first, second, payload, sums=self._sums)
        size = len(header) + len(payload)
        self._side.sent(size)
        try:
            with self._sending:
                done = self._socket.sendmsg([header, payload])
                if done < size:
                    rest = memoryview(header + bytes(payload) if done < len(header) else payload)
                    self._socket.sendall(rest[done if done < len(header) else done - len(header) :])
        except OSError:
            raise Closed from None

    def forget(self, local: int) -> None:
        with self._table:
            self._streams.pop(local, None)

    def _receive(self) -> adb.Message:
        return adb.receive(self._socket, self._side.received)

    def _handshake(self) -> None:
        hello = self._receive()
        if hello.command != adb.CNXN:
            raise adb.Broken("the first message is not CNXN")
        self._sums = hello.first <= adb.VERSION_SUMS
        self.largest = min(hello.second, adb.MAX_PAYLOAD)
        if self._side.needs_key():
            self._authorise()
        banner = self._side.banner().encode()
        self.send(adb.CNXN, adb.VERSION, adb.MAX_PAYLOAD, banner)

    def _authorise(self) -> None:
        """Asks for signatures until one fits, or for a public key and the person's consent."""
        while True:
            token = os.urandom(keys.TOKEN_SIZE)
            self.send(adb.AUTH, adb.AUTH_TOKEN, 0, token)
            answer = self._receive()
            if answer.command != adb.AUTH:
                raise adb.Broken("no answer to the token")
            payload = bytes(answer.payload)
            if answer.first == adb.AUTH_SIGNATURE:
                if any(keys.signed(key, token, payload) for key in self._side.known_keys()):
                    return
            elif answer.first == adb.AUTH_PUBLIC_KEY:
                if self._side.authorises(payload, self.hung_up):
                    return
                raise adb.Broken("not authorised")

    def hung_up(self) -> bool:
        """Whether the host has closed the connection, or it was cut."""
        if self._gone:
            return True
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _handle(self, message: adb.Message) -> None:
        if message.command == adb.OPEN:
            self._open(message)
            return
        with self._table:
            stream = self._streams.get(message.second)
        if stream is None:
            if message.command == adb.WRTE:
                self.send(adb.CLSE, 0, message.first)
        elif message.command == adb.WRTE:
            stream.arrived(message.payload)
        elif message.command == adb.OKAY:
            stream.acknowledged()
        elif message.command == adb.CLSE:
            stream.end(tell=True)

    def _open(self, message: adb.Message) -> None:
        name = bytes(message.payload).split(b"\0")[0].decode(errors="replace")
        service = self._side.service(name)
        if service is None:
            self.send(adb.CLSE, 0, message.first)
            return
        with self._table:
            local, self._next = self._next, self._next + 1
            stream = self._streams[local] = Stream(self, local, message.first)
        self.send(adb.OKAY, local, message.first)
        threading.Thread(target=_serve, args=(service, stream), daemon=True).start()


def _serve(service: Callable[[Stream], None], stream: Stream) -> None:
    try:
        service(stream)
    except Closed:
        pass
    finally:
        with contextlib.suppress(Closed):
            stream.close()
