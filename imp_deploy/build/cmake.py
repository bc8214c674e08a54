"""Runs CMake and Ninja of PyPI, and gives what they built its place."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from imp_deploy import process
from imp_deploy.errors import DeviceError
from imp_deploy.files import copy_atomic, sha256_of
from imp_deploy.llama import native_folder
from imp_deploy.progress import Progress

PROGRAM = "imp-runner"

_STATUS = {"NINJA_STATUS": "[%f/%t] "}
_STEP = re.compile(r"\[(\d+)/(\d+)\] ")


def sources_digest() -> str:
    """Over the runner's sources, its CMake files and the lock of llama.cpp."""
    digest = hashlib.sha256()
    for path in source_files():
        digest.update(f"{path.relative_to(native_folder())} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def source_files() -> list[Path]:
    native = native_folder()
    return sorted(p for p in native.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def configure(source: Path, folder: Path, options: Sequence[str]) -> list[str]:
    """The command that prepares `folder` for building `source`."""
    return [
        *(tool("cmake"), "-S", str(source), "-B", str(folder)),
        *("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}", "-DCMAKE_BUILD_TYPE=Release"),
        *options,
    ]


def build(folder: Path) -> list[str]:
    """The command that builds the runner in a prepared `folder`."""
    return [tool("cmake"), "--build", str(folder), "--target", PROGRAM]


def run(
    commands: Sequence[Sequence[str]],
    *,
    cure: str,
    phase: str,
    progress: Progress,
    environment: Mapping[str, str],
) -> None:
    """Runs one command after the other, and shows Ninja's steps; a failure is a `DeviceError` that
    says `cure` and shows the end of the output."""
    shown = 0

    def watch(line: str) -> None:
        nonlocal shown
        if step := _STEP.match(line):
            done, total = int(step[1]), int(step[2])
            if shown == 0:
                progress.start(phase, total)
            progress.advance(done - shown)
            shown = done

    for argv in commands:
        finished = process.follow(argv, watch, environment={**os.environ, **_STATUS, **environment})
        if finished.returncode != 0:
            raise DeviceError(f"The runner could not be built; {cure}. {finished.evidence()}")


def install(built: Path, program: Path) -> None:
    """Copies `built` to its final place, in one step: others may be building the same."""
    copy_atomic(built, program)


def tool(name: str) -> str:
    """The program of the PyPI package of the same name, beside this Python, or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise DeviceError(f"{name} was not found; run `pip install {name}`.")
    return found
