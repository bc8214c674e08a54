"""A TCP connection that can die as those over Wi-Fi do: nothing comes any more, nothing closes."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from types import TracebackType


class Relay:
    """Listens at `port` and passes on to a phone and back, one connection after the other. With
    `dying`, a connection dies when the phone is about to say something over a stream."""

    def __init__(self, host: str, port: int) -> None:
        self.dying = False
        self._phone = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._ends, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, where: TracebackType | None
    ) -> None:
        self._end.close()
        self._thread.join()
        self._ends.close()
        self._listener.close()

    def _run(self) -> None:
        while self._ends not in (ready := select.select([self._ends, self._listener], [], [])[0]):
            assert ready == [self._listener]
            client, _ = self._listener.accept()
            with (
                client,
                socket.create_connection(self._phone) as phone,
                contextlib.suppress(OSError),
            ):
                self._pass_on(client, phone)

    def _pass_on(self, client: socket.socket, phone: socket.socket) -> None:
        dead = False
        while True:
            ready, _, _ = select.select([self._ends, client, phone], [], [])
            if self._ends in ready:
                return
            if client in ready:
                if not (data := client.recv(1 << 16)):
                    return
                phone.sendall(data)
            if phone in ready:
                if not (data := phone.recv(1 << 16)):
                    return
                if self.dying:
                    before, sign, _ = data.partition(b"WRTE")
                    data = b"" if dead else before
                    dead = dead or bool(sign)
                client.sendall(data)
