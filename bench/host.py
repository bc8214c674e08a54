"""This machine as a device: the same steps as on a phone, without a transport."""

from __future__ import annotations

import errno
import os
import platform
from pathlib import Path
from typing import BinaryIO

from imp_deploy import process
from imp_deploy.bench.device import Advance, Output, Stat
from imp_deploy.bench.disk import full_disk_message
from imp_deploy.cache import cache_folder
from imp_deploy.errors import DeviceError
from imp_deploy.files import write_atomic
from imp_deploy.results import Kind

_BLOCK = 1 << 20


class HostDevice:
    """`imp_deploy.bench.device.Device` for this machine."""

    kind: Kind = "host"
    name = "host"

    def __init__(self) -> None:
        self.serial = platform.node() or "host"
        self.root = str(cache_folder() / "device")

    def shell(self, command: str, *, timeout: float = 30.0) -> Output:
        try:
            done = process.run(["/bin/sh", "-c", f"exec 2>&1\n{command}"], timeout=timeout)
        except DeviceError:
            raise DeviceError(
                f"host: `{' '.join(command.split())[:160]}` did not end within {timeout:.0f} s."
            ) from None
        status = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return Output(command, status, done.stdout)

    def push(self, source: BinaryIO, target: str, *, mode: int, advance: Advance) -> None:
        try:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            # Not written over: a program that runs cannot be, and a link is not to be followed.
            Path(target).unlink(missing_ok=True)
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                while block := source.read(_BLOCK):
                    file.write(block)
                    advance(len(block))
                os.fchmod(handle, mode)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DeviceError(full_disk_message(self, target, reason)) from None
            raise DeviceError(f"host: {target} could not be written ({reason}).") from None

    def pull(self, source: str, target: Path) -> None:
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise DeviceError(f"host: {source} could not be read ({error.strerror}).") from None
        write_atomic(target, content)

    def stat(self, path: str) -> Stat | None:
        try:
            found = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DeviceError(f"host: {path} could not be read ({error.strerror}).") from None
        return Stat(found.st_mode, found.st_size, int(found.st_mtime))

    def reconnect(self) -> None:
        pass

    def close(self) -> None:
        pass
