"""The way to a phone through a running adb server.

Only services that every server has are used (`host:devices-l`, `host:transport:`, `host:connect:`),
so that its version does not matter. A server of another version, started by somebody's IDE, kills
the one that runs: then a stream breaks (`LinkLost`), and the next connection finds the new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from adbutils import AdbClient, AdbConnection, AdbError

from imp_deploy import process
from imp_deploy.bench.adb import AdbDevice
from imp_deploy.bench.adb_list import Entry, parse_devices
from imp_deploy.bench.device import LinkLost
from imp_deploy.bench.states import refusal
from imp_deploy.bench.stream import exactly
from imp_deploy.errors import DeviceError

LONGEST_SERVICE = 32 << 10
"""The protocol has four hexadecimal digits for a length; phones since Android 7 take 256 KiB."""

_CONNECT_SECONDS = 3.0
_APPEAR_SECONDS = 8.0
"""A server that was just started needs a moment to find the phones on its USB ports."""


@dataclass(frozen=True)
class Address:
    host: str
    port: int


@dataclass(frozen=True)
class SocketStream:
    """A connection to the server that became a stream to the phone."""

    connection: AdbConnection

    def read(self, count: int, timeout: float) -> bytes:
        try:
            self.connection.conn.settimeout(timeout)
            return bytes(self.connection.conn.recv(count))
        except TimeoutError:
            raise
        except OSError as error:
            raise LinkLost(f"{error.strerror or error}") from None

    def readable(self) -> bool:
        return bool(select.select([self.connection.conn], [], [], 0)[0])

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        try:
            self.connection.conn.settimeout(timeout)
            self.connection.conn.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            raise LinkLost(f"{error.strerror or error}") from None

    def close(self) -> None:
        # Not the connection's own close(), which sleeps 10 ms for a shutdown that TCP needs not.
        self.connection.conn.close()


@dataclass(frozen=True)
class ServerLink:
    serial: str
    longest_service: int = field(default=LONGEST_SERVICE, init=False)

    def open(self, service: str, timeout: float) -> SocketStream:
        connection = _connection(timeout)
        stream = SocketStream(connection)
        try:
            _request(stream, f"host:transport:{self.serial}", timeout)
            _request(stream, service, timeout)
        except _Refused as refused:
            stream.close()
            raise self._error(str(refused)) from None
        except BaseException:
            stream.close()
            raise
        return stream

    def _error(self, words: str) -> LinkLost:
        if "unauthorized" in words:  # just after a reboot it may only be so for a while
            return LinkLost(refusal(f"adb:{self.serial}", "unauthorized"))
        return LinkLost(f'the adb server says "{words.strip()}"')

    def reconnect(self) -> None:
        """Waits until the server, restarted where it is gone, shows the phone as ready."""
        entry = settled(self.serial, _APPEAR_SECONDS)
        if entry is None:
            raise LinkLost(f"adb:{self.serial}: the adb server does not show it.")
        if entry.state != "device":
            raise self._error(f"device {entry.state}")

    def close(self) -> None:
        """Nothing stays open between two services."""


class _Refused(Exception):
    """What the server said instead of OKAY."""


def connect(serial: str) -> AdbDevice:
    """The phone with that serial, ready; the caller has seen it in `devices()`."""
    return AdbDevice("adb", serial, f"adb:{serial}", ServerLink(serial))


def find(serial: str) -> Entry | None:
    return next((entry for entry in devices() if entry.serial == serial), None)


def settled(serial: str, seconds: float) -> Entry | None:
    """The server's entry for that phone once it is ready, or what it is after so many seconds: a
    phone that was just connected is offline and unauthorized first."""
    deadline = time.monotonic() + seconds
    while True:
        entry = find(serial)
        if (entry is not None and entry.state == "device") or time.monotonic() > deadline:
            return entry
        if entry is None:
            _ask_for_network_device(serial)
        time.sleep(0.1)


def devices() -> tuple[Entry, ...]:
    """What the server shows. It is started when none answers and there is an adb program; without
    one there are no such devices."""
    if not answers() and not start():
        return ()
    stream = SocketStream(_connection(_CONNECT_SECONDS))
    try:
        _request(stream, "host:devices-l", _CONNECT_SECONDS)
        length = int(exactly(stream, 4, _CONNECT_SECONDS), 16)
        text = exactly(stream, length, _CONNECT_SECONDS).decode("utf-8", "replace")
    except (TimeoutError, LinkLost, ValueError, _Refused) as error:
        where = address()
        raise DeviceError(
            f"What answers at {where.host}:{where.port} is no adb server ({error}); end it, or set "
            "ANDROID_ADB_SERVER_PORT to the port of the right one."
        ) from None
    finally:
        stream.close()
    return parse_devices(text)


def address() -> Address:
    """Where the server is, by the variables that adb itself reads."""
    spec = os.environ.get("ADB_SERVER_SOCKET")
    if spec is None:
        host = os.environ.get("ANDROID_ADB_SERVER_ADDRESS") or "127.0.0.1"
        spec = f"tcp:{host}:{os.environ.get('ANDROID_ADB_SERVER_PORT') or '5037'}"
    match = re.fullmatch(r"tcp:(?:(.+):)?(\d+)", spec)
    if match is None or not 0 < int(match[2]) < 65536:
        raise DeviceError(
            f"The address of the adb server, {spec!r}, is not of the form tcp:HOST:PORT; correct "
            "ADB_SERVER_SOCKET or ANDROID_ADB_SERVER_PORT."
        )
    return Address((match[1] or "127.0.0.1").strip("[]"), int(match[2]))


def answers() -> bool:
    where = address()
    try:
        socket.create_connection((where.host, where.port), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def start() -> bool:
    """Starts the server with the adb program; False where there is none."""
    program = adb_program()
    if program is None:
        return False
    finished = process.run([program, "start-server"], timeout=30)
    if finished.returncode != 0 or not answers():
        raise DeviceError(f"The adb server does not start; {finished.evidence()}")
    return True


def adb_program() -> str | None:
    """adb on the PATH, or in the Android SDK."""
    found = shutil.which("adb")
    if found is not None:
        return found
    for variable in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        if folder := os.environ.get(variable):
            program = Path(folder) / "platform-tools" / "adb"
            if os.access(program, os.X_OK):
                return str(program)
    return None


def _connection(timeout: float) -> AdbConnection:
    where = address()
    if not answers():  # adbutils would start the adb program that it brings along
        raise LinkLost(f"no adb server answers at {where.host}:{where.port}")
    try:
        return AdbClient(where.host, where.port).make_connection(timeout)
    except (AdbError, OSError) as error:
        raise LinkLost(str(error)) from None


def _request(stream: SocketStream, service: str, timeout: float) -> None:
    name = service.encode()
    stream.write(b"%04x" % len(name) + name, timeout)
    status = exactly(stream, 4, timeout)
    if status == b"OKAY":
        return
    words = repr(status)
    if status == b"FAIL":
        with contextlib.suppress(ValueError):
            length = int(exactly(stream, 4, timeout), 16)
            words = exactly(stream, length, timeout).decode("utf-8", "replace")
    raise _Refused(words)


def _ask_for_network_device(serial: str) -> None:
    """A new server has forgotten what the old one was told to `adb connect` to."""
    if not re.fullmatch(r".+:\d+", serial):
        return
    stream = SocketStream(_connection(_CONNECT_SECONDS))
    try:
        with contextlib.suppress(_Refused, LinkLost, TimeoutError):
            _request(stream, f"host:connect:{serial}", _CONNECT_SECONDS)
            stream.read(1 << 12, _CONNECT_SECONDS)
    finally:
        stream.close()
