"""A process, its time and its memory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imp_deploy import process
from imp_deploy.errors import DeviceError


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Seconds from start to end, seconds of all its cores, and its largest resident memory."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Spent:
    """Runs to the end; another status than 0 is a `DeviceError` with the end of its stderr.

    `peak_bytes` begins at this process' own resident memory, because the kernel counts the copy
    that a child is before it becomes its program: keep the caller small."""
    with tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        child = process.start(argv, environment=environment, stderr=errors.fileno())
        status, usage = _wait(child)
        seconds = time.monotonic() - began
        if status != 0:
            errors.seek(0)
            tail = b"\n".join(errors.read().splitlines()[-12:]).decode("utf-8", "replace")
            raise DeviceError(f"`{' '.join(argv)}` ended with status {status}:\n{tail}")
    return Spent(
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
    )


def _wait(child: subprocess.Popen[bytes]) -> tuple[int, resource.struct_rusage]:
    """Exit status and usage of this child alone; an interrupted wait takes it along, which has a
    session of its own and hears no Ctrl+C."""
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage
