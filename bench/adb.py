"""A phone over ADB, whatever the way to it."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from imp_deploy.bench import sync
from imp_deploy.bench.device import Advance, LinkLost, Output, Stat
from imp_deploy.bench.disk import full_disk_message, is_full
from imp_deploy.bench.shell_text import framed, unframed
from imp_deploy.bench.stream import Link, Stream
from imp_deploy.errors import DeviceError
from imp_deploy.files import write_atomic
from imp_deploy.results import Kind

ROOT = "/data/local/tmp/imp-deploy"
"""`/data/local/tmp` is the one folder where adb's shell may write and start programs."""

_OPEN_SECONDS = 20.0


@dataclass(frozen=True)
class AdbDevice:
    """`imp_deploy.bench.device.Device` over a link to a phone."""

    kind: Kind
    serial: str
    name: str
    link: Link
    root: str = ROOT

    def shell(self, command: str, *, timeout: float = 30.0) -> Output:
        frame = framed(command)
        service = f"shell:{frame.line}"
        if len(service.encode()) > self.link.longest_service:
            raise DeviceError(
                f"{self.name}: a command of {len(service.encode())} bytes is longer than the "
                f"{self.link.longest_service} that this phone takes; this is a bug, please report "
                f"it with the command: {command[:200]}"
            )
        deadline = time.monotonic() + timeout
        stream = self._open(service)
        received = bytearray()
        try:
            while True:
                part = stream.read(1 << 16, max(0.001, deadline - time.monotonic()))
                received += part
                output = unframed(frame, bytes(received)) if b"imp>" in received else None
                if output is not None:
                    return output
                if not part:
                    raise LinkLost(
                        f"{self.name}: the connection broke off during `{_short(command)}`; what "
                        f"came before: {_short(received.decode('utf-8', 'replace').strip())!r}."
                    )
                if time.monotonic() > deadline:
                    raise TimeoutError
        except TimeoutError:
            if frame.begin not in received:
                # Not the command is slow: a shell that runs prints this at once, and a connection
                # that died without a word (a phone out of the Wi-Fi's reach) never does.
                raise LinkLost(
                    f"{self.name}: the phone does not answer: `{_short(command)}` had not begun "
                    f"after {timeout:.0f} s."
                ) from None
            raise DeviceError(
                f"{self.name}: `{_short(command)}` did not end within {timeout:.0f} s; look at "
                "what else the phone does, and run the same command again."
            ) from None
        finally:
            stream.close()

    def push(self, source: BinaryIO, target: str, *, mode: int, advance: Advance) -> None:
        stream = self._open("sync:")
        try:
            sync.send(stream, target, mode, source, advance)
        except TimeoutError:
            raise LinkLost(
                f"{self.name}: the phone stopped answering during the push of {target}."
            ) from None
        except LinkLost as lost:
            raise LinkLost(
                f"{self.name}: the connection broke off during the push of {target} ({lost})."
            ) from None
        except sync.Refused as refused:
            if is_full(str(refused)):
                raise DeviceError(full_disk_message(self, target, str(refused))) from None
            raise DeviceError(
                f'{self.name}: {target} could not be written; the phone says "{refused}".'
            ) from None
        finally:
            stream.close()

    def pull(self, source: str, target: Path) -> None:
        """Results and logs: the file is held in memory on its way."""
        stream = self._open("sync:")
        try:
            content = b"".join(sync.receive(stream, source))
        except TimeoutError:
            raise LinkLost(
                f"{self.name}: the phone stopped answering during the pull of {source}."
            ) from None
        except LinkLost as lost:
            raise LinkLost(
                f"{self.name}: the connection broke off during the pull of {source} ({lost})."
            ) from None
        except sync.Refused as refused:
            raise DeviceError(
                f'{self.name}: {source} could not be read; the phone says "{refused}".'
            ) from None
        finally:
            stream.close()
        write_atomic(target, content)

    def stat(self, path: str) -> Stat | None:
        # By the shell: the sync service's STAT has 32 bits for the size, and models are larger.
        name = shlex.quote(path)
        command = f"if [ -e {name} ]; then stat -L -c '%f %s %Y' {name}; else echo none; fi"
        output = self.shell(command)
        fields = output.text.split()
        if fields == ["none"]:
            return None
        try:
            mode, size, modified = fields
            return Stat(int(mode, 16), int(size), int(modified))
        except ValueError:
            raise DeviceError(f"{self.name}: {output.evidence()}") from None

    def reconnect(self) -> None:
        self.link.reconnect()

    def close(self) -> None:
        self.link.close()

    def _open(self, service: str) -> Stream:
        try:
            return self.link.open(service, _OPEN_SECONDS)
        except TimeoutError:
            raise LinkLost(f"{self.name}: the phone does not answer.") from None
        except LinkLost as lost:
            raise LinkLost(f"{self.name}: the connection broke off ({lost}).") from None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:157]}..."
