"""Debian's adb as tests use it, and waiting."""

from __future__ import annotations

import importlib.util
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.auth.sign_pythonrsa import PythonRSASigner

from imp_deploy.bench.virtual.power import Running

TMP = "/data/local/tmp"


@dataclass(frozen=True)
class Adb:
    """The real client, with a server of its own; every call is for the phone `serial`."""

    environment: dict[str, str]
    serial: str

    def run(
        self, *arguments: str, stdin: bytes = b"", timeout: float = 30
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["adb", "-s", self.serial, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def shell(self, command: str, *, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return self.run("shell", command, stdin=stdin)

    def said(self, command: str) -> str:
        """What a command printed; it must succeed."""
        done = self.shell(command)
        assert done.returncode == 0, done
        return done.stdout.decode()

    def state(self) -> str:
        """As `adb devices` says it; "" when the phone is not in the list."""
        listed = self.run("devices").stdout.decode()
        rows = (line.split("\t", 1) for line in listed.splitlines() if "\t" in line)
        return dict(rows).get(self.serial, "")

    def connect(self) -> None:
        self.run("connect", self.serial)
        wait(lambda: self.state() == "device", 10)

    def disconnect(self) -> None:
        self.run("disconnect", self.serial)


@contextmanager
def direct(phone: Running, signer: PythonRSASigner) -> Iterator[AdbDeviceTcp]:
    """A connection with adb-shell, without a server."""
    device = AdbDeviceTcp(phone.host, phone.port, default_transport_timeout_s=10)
    try:
        device.connect(rsa_keys=[signer], auth_timeout_s=2)
        yield device
    finally:
        device.close()


def wait(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def zig() -> Path:
    spec = importlib.util.find_spec("ziglang")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("zig")
