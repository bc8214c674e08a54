"""One run on the device: its folder, its start, and what it has written so far.

ROOT/runs/RUN/plan-1.txt, log-1.jsonl     the first attempt; the next call starts another one
ROOT/runs/RUN/job-*.txt, results.jsonl    the repetitions, and their lines, of all attempts
ROOT/runs/RUN/boot                        the system's boot id when the last attempt began
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from imp_deploy.bench import describe, detached
from imp_deploy.bench.device import Device, checked, quoted
from imp_deploy.bench.plan import RESULTS

_END_SECONDS = 10.0
_ATTEMPT = re.compile(r"log-(\d+)\.jsonl")


@dataclass(frozen=True)
class RunFolder:
    root: str
    run: str

    @property
    def path(self) -> str:
        return f"{self.root}/runs/{self.run}"

    def file(self, name: str) -> str:
        return f"{self.path}/{name}"


@dataclass
class Tail:
    """The whole lines of a growing file on the device, fetched once each."""

    path: str
    text: str = ""
    _bytes: int = 0

    def fetch(self, device: Device) -> str:
        """Asks for what lies behind the last whole line; a missing file is an empty one. What is
        new is also returned."""
        argv = quoted(["tail", "-c", f"+{self._bytes + 1}", self.path])
        output = device.shell(f"{argv} 2>/dev/null")
        new = output.text[: output.text.rfind("\n") + 1]
        self.text += new
        self._bytes += len(new.encode())
        return new


def last_attempt(device: Device, folder: RunFolder) -> int:
    """0 when the run was never started."""
    listed = device.shell(f"ls {quoted([folder.path])} 2>/dev/null").text.split()
    return max((int(m[1]) for name in listed if (m := _ATTEMPT.fullmatch(name))), default=0)


def at_work(device: Device) -> list[str]:
    """The names of the runs that the device is working on, whoever began them."""
    runs = f"{device.root}/runs"
    listed = device.shell(f"ls {quoted([runs])} 2>/dev/null").text.split()
    return [run for run in listed if detached.running(device, f"{runs}/{run}")]


def stop_all(device: Device) -> None:
    """Ends all of them; what they have measured stays."""
    for run in at_work(device):
        detached.kill(device, f"{device.root}/runs/{run}")


def write(device: Device, folder: RunFolder, jobs: Mapping[str, str]) -> None:
    """The folder with the jobs' files."""
    checked(device, quoted(["mkdir", "-p", folder.path]))
    for name, text in jobs.items():
        _put(device, folder.file(name), text)


def start(device: Device, folder: RunFolder, attempt: int, runner: str, plan: str) -> None:
    """Starts the runner on `plan`; it goes on without us."""
    _put(device, folder.file("boot"), describe.boot_id(device))
    _put(device, folder.file(f"plan-{attempt}.txt"), plan)
    log = folder.file(f"log-{attempt}.jsonl")
    checked(device, f": >> {quoted([log])}")
    argv = [runner, "--plan", folder.file(f"plan-{attempt}.txt"), log]
    detached.start(device, argv, folder.path)


def restarted_since(device: Device, folder: RunFolder) -> bool:
    """Whether the device was booted anew since the last attempt began."""
    noted = device.shell(f"cat {quoted([folder.file('boot')])} 2>/dev/null").text.strip()
    return noted not in ("", describe.boot_id(device))


def restart_reason(device: Device) -> str:
    """Why Android says that it was started, for instance "shutdown,thermal"."""
    output = device.shell("getprop sys.boot.reason || true; getprop ro.boot.bootreason || true")
    lines = [line for line in output.text.split() if line]
    return lines[0] if output.status == 0 and lines else "reason unknown"


def last_words(device: Device, folder: RunFolder) -> str:
    """The end of what the job said to stderr."""
    output = device.shell(f"tail -c 500 {quoted([folder.file('stderr')])} 2>/dev/null")
    return " ".join(output.text.split()) or "it said nothing"


def remove(device: Device, folder: RunFolder) -> None:
    """Once the job is gone: its last sample is there a moment before it has ended, and it would
    write into the folder while that is removed."""
    deadline = time.monotonic() + _END_SECONDS
    while detached.running(device, folder.path) and time.monotonic() < deadline:
        time.sleep(0.1)
    checked(device, quoted(["rm", "-r", "-f", folder.path]))


def results_tail(folder: RunFolder) -> Tail:
    return Tail(folder.file(RESULTS))


def log_tail(folder: RunFolder, attempt: int) -> Tail:
    return Tail(folder.file(f"log-{attempt}.jsonl"))


def _put(device: Device, path: str, text: str) -> None:
    device.push(io.BytesIO(text.encode()), path, mode=0o644, advance=lambda _count: None)
