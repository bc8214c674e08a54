"""Writes plans for the runner's supervisor, starts it, and looks at its children and its log."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.native.jobs import Line, Runner, Value, encode, read_results, render

LONG = 200
"""Steps of a job that takes far longer than a test waits."""

NEVER = "0.1"
"""A temperature in degrees Celsius that no sensor falls below."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run of a plan."""

    id: str
    job: Path
    group: str = "g"
    out: str = "out"


@dataclass(frozen=True, kw_only=True)
class Supervisor:
    """The program carrying out a plan in the runner's folder. `prefix` is put before its command
    line, for instance to give it another /sys."""

    runner: Runner
    prefix: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.runner.folder

    @property
    def log(self) -> list[Line]:
        path = self.folder / "log"
        return read_results(path) if path.exists() else []

    def about(self, run: str) -> list[str]:
        """The states of one run, in their order."""
        return [line["status"] for line in self.log if line.get("run") == run]

    def results(self, out: str = "out") -> list[str]:
        """The steps that have a result."""
        path = self.folder / out
        return [line["step"] for line in read_results(path)] if path.exists() else []

    def job(self, name: str, steps: int = 1, **keys: Value) -> Path:
        """A job of text steps with 4 tokens each, called `name`-0, `name`-1, ..."""
        path = self.folder / f"{name}.job"
        step: dict[str, Value] = {"prompt": "What is it?", "max_tokens": 4, "ignore_eog": 1, **keys}
        path.write_text(
            render(self.runner.job(), [{**step, "id": f"{name}-{n}"} for n in range(steps)]),
            encoding="utf-8",
        )
        return path

    def long_job(self, name: str) -> Path:
        return self.job(name, LONG, max_tokens=200)

    def start(self, runs: Sequence[Planned], **keys: Value) -> subprocess.Popen[str]:
        lines = ["imp-plan 1"]
        lines += [f"{key} {encode(value)}" for key, value in {"timeout": 60, **keys}.items()]
        for run in runs:
            lines += ["run", f"id {encode(run.id)}", f"group {encode(run.group)}"]
            lines += [f"job {encode(run.job)}", f"out {encode(self.folder / run.out)}"]
        plan = self.folder / "plan"
        plan.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return self.start_text()

    def start_text(self) -> subprocess.Popen[str]:
        """Starts the program on the plan that lies in the folder."""
        argv = [*self.prefix, str(self.runner.binary), "--plan"]
        argv += [str(self.folder / "plan"), str(self.folder / "log")]
        return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)

    def run(self, runs: Sequence[Planned], **keys: Value) -> list[Line]:
        """Carries the plan out and returns the whole log."""
        process = self.start(runs, **keys)
        finish(process)
        return self.log


def finish(process: subprocess.Popen[str]) -> None:
    """Waits for the supervisor, which must end with status 0 and say nothing."""
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (0, "")


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Waits for the condition while the process lives."""
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the process ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(parent: int) -> list[int]:
    """The processes that `parent` started and that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = path.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(ppid) == parent and state != "Z":
            found.append(int(path.parent.name))
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
