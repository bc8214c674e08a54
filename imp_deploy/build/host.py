"""Builds the native runner for this machine against the llama.cpp that pip installed."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from imp_deploy import llama
from imp_deploy.build import cmake
from imp_deploy.cache import cache_folder
from imp_deploy.files import sha256_of
from imp_deploy.progress import Progress, Unseen

NAME = "host"


def host_runner() -> Path:
    """Where the host's runner is, built or not: its place depends on sources and libraries."""
    library = llama.library_folder() / "libmtmd.so"
    key = f"{cmake.sources_digest()} {library} {sha256_of(library)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    return cache_folder() / f"host-{digest[:16]}" / cmake.PROGRAM


def build_host(*, force: bool = False, progress: Progress | None = None) -> Path:
    """The host's runner, built if it is not there yet; seconds, llama.cpp itself is not built."""
    program = host_runner()
    if program.is_file() and not force:
        return program
    options = (
        f"-DIMP_LLAMA_INCLUDE={llama.include_folder()}",
        f"-DIMP_LLAMA_LIB={llama.library_folder()}",
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cmake.run(
            [cmake.configure(llama.native_folder(), folder, options), cmake.build(folder)],
            cure="install a C++17 compiler (Debian: `apt-get install g++`) and try again",
            phase="the runner for this machine",
            progress=progress or Unseen(),
            environment={},
        )
        cmake.install(folder / cmake.PROGRAM, program)
    return program
