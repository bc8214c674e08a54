"""Cross-compiles the runner and llama.cpp for phones, with zig in place of an NDK.

The result is a static program: it needs nothing on the phone and runs from /data/local/tmp.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imp_deploy import llama, llama_source
from imp_deploy.build import cmake, ndk
from imp_deploy.build.target import TARGETS, Built, Target
from imp_deploy.cache import cache_folder
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.files import (
    alone,
    full_disk_is_bad_input,
    read_json_object,
    sha256_of,
    write_json_atomic,
)
from imp_deploy.progress import Progress

_RECORD = "build.json"


def build_phones(
    targets: Sequence[Target] = TARGETS, *, force: bool = False, progress: Progress
) -> tuple[Built, ...]:
    """One program per target, built where it is not there yet: minutes the first time."""
    return tuple(build_phone(target, force=force, progress=progress) for target in targets)


def build_phone(target: Target, *, force: bool = False, progress: Progress) -> Built:
    options, compiler = _compiler(target)
    flags = f"{compiler}; {' '.join(target.flags)}"
    # What the object files of llama.cpp depend on; the runner's own sources come on top.
    stable = _digest(f"{llama.lock().sha256} {flags}")
    place = cache_folder() / f"{target.name}-{_digest(f'{stable} {cmake.sources_digest()}')}"
    if not force and (built := _known(place, target)) is not None:
        return built
    work = cache_folder() / f"build-{target.name}-{stable}"
    with full_disk_is_bad_input(work), _alone(work, fresh=force):
        if not force and (built := _known(place, target)) is not None:
            return built
        _copy_sources(work / "native")
        source = llama_source.source_folder()
        folder = work / "build"
        cmake.run(
            [
                cmake.configure(
                    work / "native", folder, [*options, f"-DIMP_LLAMA_SOURCE={source}"]
                ),
                cmake.build(folder),
            ],
            cure="report it with the lines below, unless they name the cause",
            phase=f"{target.name}: llama.cpp and the runner",
            progress=progress,
            environment={"ZIG_GLOBAL_CACHE_DIR": str(cache_folder() / "zig")},
        )
        program = place / cmake.PROGRAM
        cmake.install(folder / cmake.PROGRAM, program)
        digest = sha256_of(program)
        write_json_atomic(place / _RECORD, {"flags": flags, "sha256": digest})
    return Built(target=target.name, program=program, flags=flags, sha256=digest)


def _compiler(target: Target) -> tuple[list[str], str]:
    """CMake's options that choose the compiler, and its name and version."""
    if target.ndk:
        return ndk.options(target)
    version = importlib.metadata.version("ziglang")
    options = [
        f"--toolchain={llama.native_folder() / 'cmake' / 'zig-aarch64.cmake'}",
        f"-DIMP_ZIG={_zig()}",
        *target.flags,
    ]
    return options, f"zig {version}"


def _zig() -> Path:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise DeviceError(
            "ziglang, the cross compiler, is not installed; run `pip install ziglang`."
        )
    return Path(spec.origin).with_name("zig")


def _known(place: Path, target: Target) -> Built | None:
    """What was built before, if it is still what it was."""
    program, noted = place / cmake.PROGRAM, place / _RECORD
    if not (program.is_file() and noted.is_file()):
        return None
    try:
        value = read_json_object(noted)
    except BadInput:
        return None
    if set(value) != {"flags", "sha256"} or sha256_of(program) != value["sha256"]:
        return None
    return Built(target=target.name, program=program, **value)


def _copy_sources(folder: Path) -> None:
    """Brings `folder` up to date. Only what changed is written, so that only that is compiled: the
    installed sources may lie elsewhere at every call, and their times say nothing."""
    wanted = {path.relative_to(llama.native_folder()): path for path in cmake.source_files()}
    for path in [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []:
        if path.relative_to(folder) not in wanted:
            path.unlink()
    for name, path in wanted.items():
        copy = folder / name
        if not copy.is_file() or copy.read_bytes() != path.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


@contextmanager
def _alone(folder: Path, *, fresh: bool) -> Iterator[None]:
    """Holds the build folder: a second build of the same waits, and then finds it done."""
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / ".lock"):
        if fresh:
            shutil.rmtree(folder / "build", ignore_errors=True)
        yield


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
