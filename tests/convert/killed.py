"""Runs an export again and again in children that are killed, and says where the result differs.

A program of its own, because a child is forked for every kill, which wants a process without
threads. `python killed.py FOLDER SCENARIO` prints one JSON object. FOLDER holds `phi2` and
`qwen2`, checkpoints.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from imp_deploy import bundle as bundles
from imp_deploy.convert import output, partial
from imp_deploy.convert.export import export
from imp_deploy.convert.plan import Options
from imp_deploy.files import sha256_of

# What changes a file, and what Python reports to audit hooks.
CALLS = ("pwrite", "fsync", "fdatasync", "posix_fallocate")
EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
EVERY_PWRITE = 11  # of the hundred writes of a small export, one in so many
BUFFER_BYTES = 4096  # so that there are as many
RANDOM_KILLS = 25


class Quiet:
    def start(self, phase: str, total: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass


@dataclass(frozen=True)
class Scenario:
    """`before` prepares the output folder; `bits` and `force` are those of the killed export, and
    `result` the bits of the bundle in the end."""

    before: Callable[[Path, Path], object]
    bits: tuple[int, ...]
    result: tuple[int, ...]
    force: bool = False


def run(checkpoint: Path, out: Path, bits: tuple[int, ...], force: bool = False) -> None:
    options = Options(name="Imp", bits=bits)
    export(checkpoint, out, options, force=force, progress=Quiet())


SCENARIOS = {
    "new": Scenario(lambda _folder, _out: None, (16, 8), (16, 8)),
    "more bits": Scenario(lambda folder, out: run(folder / "phi2", out, (4,)), (8,), (8, 4)),
    "forced": Scenario(
        lambda folder, out: run(folder / "qwen2", out, (16, 4)), (8, 4), (8, 4), True
    ),
}


def child(work: Callable[[], object]) -> int:
    """Runs `work` in a child; 0, or the number of the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        quit_with(work)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status > 0:
        raise SystemExit(f"the export failed with status {status}")
    return -status


def quit_with(work: Callable[[], object]) -> NoReturn:
    try:
        work()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def die_at(moment: int, out: Path) -> None:
    """Arranges that this process kills itself right before the change of number `moment`."""
    seen = writes = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(10)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS or (event == "open" and str(arguments[0]).startswith(str(out))):
            count()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            nonlocal writes
            writes += name == "pwrite"
            if name != "pwrite" or writes % EVERY_PWRITE == 0:
                count()
            return function(*arguments)

        return counted

    for name in CALLS:
        setattr(os, name, counting(name, getattr(os, name)))
    sys.addaudithook(audit)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def trustworthy(out: Path) -> bool:
    """Whether a manifest, where there is one, tells the truth about the files."""
    if not (out / bundles.MANIFEST).exists():
        return True
    return all(sha256_of(out / file.path) == file.sha256 for file in bundles.load(out).files)


def main(folder: Path, name: str) -> None:
    scenario, source = SCENARIOS[name], folder / "phi2"
    prepared, out = folder / "prepared", folder / "out"
    prepared.mkdir()
    child(lambda: scenario.before(folder, prepared))
    output.BUFFER_BYTES = BUFFER_BYTES
    partial._COMMIT_BYTES = 40_000  # several times in a small export

    def again() -> None:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(prepared, out)

    def whole() -> None:
        run(source, out, scenario.bits, scenario.force)

    def dying(moment: int) -> Callable[[], None]:
        def work() -> None:
            die_at(moment, out)
            whole()

        return work

    child(lambda: run(source, folder / "fresh", scenario.result))
    expected, wrong = contents(folder / "fresh"), []
    moment = 0
    while True:
        moment += 1
        again()
        if child(dying(moment)) == 0:
            break
        if not trustworthy(out):
            wrong.append(moment)
        if moment % 2:  # killed a second time on the way
            child(dying(moment // 2))
        child(whole)
        if contents(out) != expected:
            wrong.append(moment)
    chance, killed = random.Random(0), 0
    again()
    for _ in range(RANDOM_KILLS):
        pid = os.fork()
        if pid == 0:
            quit_with(whole)
        time.sleep(chance.uniform(0.0, 0.08))
        os.kill(pid, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    child(whole)
    if contents(out) != expected:
        wrong.append(-1)
    print(json.dumps({"moments": moment - 1, "killed at random": killed, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
