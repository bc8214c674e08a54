"""The way to a phone without an adb server: over TCP, or over a USB port that nobody holds."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adb_shell import exceptions
from adb_shell.adb_device import AdbDevice as Connector
from adb_shell.transport.base_transport import BaseTransport

from imp_deploy.bench import adb_keys, usb
from imp_deploy.bench.adb import AdbDevice
from imp_deploy.bench.adb_packets import Packets, PacketStream
from imp_deploy.bench.device import LinkLost
from imp_deploy.bench.states import refusal
from imp_deploy.errors import DeviceError
from imp_deploy.results import Kind

Note = Callable[[str], None]

_CONNECT_SECONDS = 10.0
_PACKET_OVERHEAD = 64


class Tcp(BaseTransport):  # type: ignore[misc]
    """adb-shell's own transport drops what a full socket does not take, and waits in a busy loop
    for the rest of a packet when the phone has gone."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None

    def connect(self, transport_timeout_s: float) -> None:
        self._socket = socket.create_connection(self._address, transport_timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def bulk_read(self, numbytes: int, transport_timeout_s: float) -> bytes:
        part = self._open(transport_timeout_s).recv(numbytes)
        if not part:
            raise ConnectionResetError("the phone closed the connection")
        return part

    def bulk_write(self, data: bytes | memoryview, transport_timeout_s: float) -> int:
        self._open(transport_timeout_s).sendall(data)
        return len(data)

    def _open(self, timeout: float) -> socket.socket:
        if self._socket is None:
            raise ConnectionResetError("the connection is closed")
        self._socket.settimeout(timeout)
        return self._socket


@dataclass
class DirectLink:
    """`transport` makes a new one for each connection; `wait`: seconds for the user to accept the
    dialog on the phone."""

    name: str
    transport: Callable[[], Any]
    wait: float
    note: Note
    packets: Packets | None = None
    longest_service: int = 1 << 12
    _current: Any = None

    def open(self, service: str, timeout: float) -> PacketStream:
        if self.packets is None:
            raise LinkLost("the connection is closed")
        return self.packets.open(service, timeout)

    def reconnect(self) -> None:
        self.close()
        self._current = self.transport()
        connector = Connector(self._current, default_transport_timeout_s=_CONNECT_SECONDS)
        asked = False

        def ask(_: object) -> None:
            nonlocal asked
            asked = True
            self.note(f'{self.name}: accept the dialog "Allow USB debugging?" on the phone.')

        try:
            connector.connect(
                rsa_keys=adb_keys.signers(),
                auth_timeout_s=self.wait,
                read_timeout_s=max(self.wait, _CONNECT_SECONDS),
                auth_callback=ask,
            )
        except DeviceError:
            self.close()
            raise
        except Exception as error:
            self.close()
            if asked or isinstance(error, exceptions.DeviceAuthError):
                raise DeviceError(refusal(self.name, "unauthorized")) from None
            raise self._no_connection(error) from None
        # The library's own measure of a packet is half of what the phone said it takes, and its
        # half of it again would be 64 KiB at most.
        largest = 2 * int(connector.max_chunk_size)
        self.longest_service = largest - _PACKET_OVERHEAD
        self.packets = Packets(self._current, largest, failure)

    def _no_connection(self, error: Exception) -> DeviceError:
        if (sentence := usb.sentence(error, self.name)) is not None:
            return DeviceError(sentence)
        reason = str(failure(error))
        return LinkLost(
            f"{self.name} cannot be connected to ({reason or 'no answer'}); check that the phone "
            "is on, unlocked and reachable, that USB debugging (or `adb tcpip 5555`, or wireless "
            "debugging) is on, and the address."
        )

    def close(self) -> None:
        self.packets = None
        if self._current is not None:
            self._current.close()
            self._current = None


def failure(error: Exception) -> Exception:
    """A transport's exception as `TimeoutError` or `LinkLost`."""
    if isinstance(error, TimeoutError | exceptions.AdbTimeoutError) or usb.is_timeout(error):
        return TimeoutError()
    if isinstance(error, LinkLost):
        return error
    if isinstance(error, OSError):
        return LinkLost(error.strerror or str(error))
    return LinkLost(str(error) or type(error).__name__)


def _quiet(_: str) -> None:
    pass


def connect_tcp(
    host: str,
    port: int,
    *,
    kind: Kind = "tcp",
    name: str | None = None,
    wait: float = 30.0,
    note: Note = _quiet,
) -> AdbDevice:
    """The phone that listens at `host`:`port`; `LinkLost` when there is none, `DeviceError` when it
    does not authorise this computer within `wait` seconds."""
    shown = name or f"tcp:{host}:{port}"
    link = DirectLink(shown, lambda: Tcp(host, port), wait, note)
    link.reconnect()
    # The virtual phone is the same one whatever port it got this time.
    return AdbDevice(kind, "virtual" if kind == "virtual" else f"{host}:{port}", shown, link)


def connect_usb(serial: str, *, wait: float = 30.0, note: Note = _quiet) -> AdbDevice:
    """The phone with that serial on a USB port of this machine."""
    name = f"usb:{serial}"
    link = DirectLink(name, lambda: usb.transport(serial), wait, note)
    link.reconnect()
    return AdbDevice("usb", serial, name, link)
