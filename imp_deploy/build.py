"""Builds the native runner for this machine against the llama.cpp that pip installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from imp_deploy import llama, process
from imp_deploy.errors import DeviceError
from imp_deploy.files import sha256_of

PROGRAM = "imp-runner"


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "imp-deploy"


def host_runner() -> Path:
    """Where the host's runner is, built or not: its place depends on sources and libraries."""
    digest = hashlib.sha256()
    native = llama.native_folder()
    for path in sorted(p for p in native.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(native)} {sha256_of(path)}\n".encode())
    library = llama.library_folder() / "libmtmd.so"
    digest.update(f"{library} {sha256_of(library)}\n".encode())
    return cache_folder() / f"host-{digest.hexdigest()[:16]}" / PROGRAM


def build_host(*, force: bool = False) -> Path:
    """The host's runner, built if it is not there yet; seconds, llama.cpp itself is not built."""
    program = host_runner()
    if program.is_file() and not force:
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for argv in _commands(Path(folder)):
            finished = process.run(argv)
            if finished.returncode != 0:
                raise DeviceError(
                    "The runner could not be built; install a C++17 compiler (Debian: "
                    f"`apt-get install g++`) and try again. {finished.evidence()}"
                )
        # Renamed into place: another process may be building the same runner.
        beside = program.with_name(f".{PROGRAM}.{os.getpid()}")
        shutil.copy2(Path(folder) / PROGRAM, beside)
        beside.replace(program)
    return program


def _commands(folder: Path) -> list[list[str]]:
    cmake = _tool("cmake")
    configure = [
        cmake,
        *("-S", str(llama.native_folder()), "-B", str(folder)),
        *("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}"),
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DIMP_LLAMA_INCLUDE={llama.include_folder()}",
        f"-DIMP_LLAMA_LIB={llama.library_folder()}",
    ]
    return [configure, [cmake, "--build", str(folder), "--target", PROGRAM]]


def _tool(name: str) -> str:
    """The program of the PyPI package of the same name, beside this Python, or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise DeviceError(f"{name} was not found; run `pip install {name}`.")
    return found
