"""Switches a virtual phone on from another program: it runs in a process of its own, so that it
neither disturbs what measures it nor is disturbed, and goes off with the program that wanted it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imp_deploy import process
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.errors import DeviceError


class Running:
    """A phone that is on. `serial` is what `adb connect` makes of it. `folder` holds its disk
    (`root/data`) and `log`."""

    def __init__(
        self, server: subprocess.Popen[bytes], said: Path, settings: Settings, port: int
    ) -> None:
        self._server = server
        self._said = said
        self.settings = settings
        self.host = "127.0.0.1"
        self.port = port

    @property
    def serial(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def folder(self) -> Path:
        return self.settings.place()

    @property
    def pid(self) -> int:
        """The phone's server; all of the phone's programs are below it."""
        return self._server.pid

    def inject(self, fault: str) -> None:
        """Lets the phone misbehave from now on: `NAME` or `NAME=VALUE`, as `--fault` takes it.
        Returns when it does; `DeviceError` for a fault that it does not know."""
        self._ask({"fault": fault})

    def clear(self, name: str | None = None) -> None:
        """Ends one fault, or all of them."""
        self._ask({"clear": name})

    def wait(self) -> None:
        """Until the phone's process ends by itself."""
        self._server.wait()

    def _ask(self, request: dict[str, Any]) -> None:
        assert self._server.stdin is not None
        try:
            self._server.stdin.write(json.dumps(request).encode() + b"\n")
            self._server.stdin.flush()
        except OSError:
            raise _failure(self._server, self._said, "is off") from None
        answer = _answer(self._server, self._said)
        if "error" in answer:
            raise DeviceError(str(answer["error"]))


@contextlib.contextmanager
def powered(settings: Settings) -> Iterator[Running]:
    """A phone, on for as long as the context lasts. When this process is killed, the phone goes off
    as well. `DeviceError` when it does not start, with what it said."""
    with tempfile.TemporaryDirectory() as scratch:
        said = Path(scratch) / "stderr"
        with said.open("wb") as stderr:
            value = dataclasses.asdict(settings) | {"folder": str(settings.place())}
            server = process.start(
                [
                    *(sys.executable, "-m", "imp_deploy.bench.virtual"),
                    *("--attached", json.dumps(value)),
                ],
                environment=None,
                stderr=stderr.fileno(),
                talk=True,
            )
        try:
            hello = _answer(server, said)
            if "error" in hello:
                raise DeviceError(str(hello["error"]))
            yield Running(server, said, settings, int(hello["port"]))
        finally:
            assert server.stdin is not None
            assert server.stdout is not None
            with contextlib.suppress(OSError):
                server.stdin.close()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            server.stdout.close()


def _answer(server: subprocess.Popen[bytes], said: Path) -> dict[str, Any]:
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        raise _failure(server, said, "did not start, or ended")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _failure(server: subprocess.Popen[bytes], said: Path, what: str) -> DeviceError:
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(5)
    tail = "\n".join(said.read_text(errors="replace").strip().splitlines()[-12:])
    return DeviceError(
        f"The virtual phone {what} (exit status {server.returncode}); start it again. "
        f"It said:\n{tail}"
    )
