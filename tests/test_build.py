"""The programs for phones: what they are, which phone gets which, and that they are built once."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imp_deploy.build.phone import build_phone, build_phones
from imp_deploy.build.target import DOTPROD, I8MM, NDK, best_target
from imp_deploy.errors import DeviceError
from imp_deploy.progress import Unseen

AARCH64, PT_INTERP, SHT_SYMTAB = 183, 3, 2


@dataclass
class Steps(Unseen):
    """Counts what was compiled and linked."""

    done: int = 0
    phases: list[str] = field(default_factory=list)

    def start(self, phase: str, total: int) -> None:
        self.phases.append(f"{phase}: {total}")

    def advance(self, count: int) -> None:
        self.done += count


@pytest.fixture(scope="session")
def phones() -> dict[str, Path]:
    return {built.target: built.program for built in build_phones(progress=Unseen())}


def table(program: Path, at: int, kind: int) -> list[int]:
    """The types of an ELF file's program headers (`at` 32) or sections (`at` 40)."""
    file = io.BytesIO(program.read_bytes())
    head = file.read(64)
    (offset,) = struct.unpack_from("<Q", head, at)
    size, count = struct.unpack_from("<HH", head, 54 if at == 32 else 58)
    found = []
    for number in range(count):
        file.seek(offset + number * size + kind)
        found += struct.unpack("<I", file.read(4))
    return found


@pytest.mark.parametrize("target", ["android-i8mm", "android-dotprod"])
def test_a_phones_program_needs_nothing_there(phones: dict[str, Path], target: str) -> None:
    program = phones[target]
    head = program.read_bytes()[:20]
    assert head[:4] == b"\x7fELF"
    assert struct.unpack_from("<H", head, 18) == (AARCH64,)
    assert PT_INTERP not in table(program, 32, 0)  # static: no loader
    assert SHT_SYMTAB not in table(program, 40, 4)  # stripped


def test_a_second_build_does_nothing(phones: dict[str, Path]) -> None:
    steps = Steps()
    again = {built.target: built.program for built in build_phones(progress=steps)}
    assert again == phones
    assert steps.phases == []


def test_a_damaged_program_is_not_used(phones: dict[str, Path]) -> None:
    program = phones["android-i8mm"]
    good = program.read_bytes()
    try:
        program.write_bytes(good[:1000])
        assert build_phone(I8MM, progress=Unseen()).program.read_bytes() == good
    finally:
        if program.read_bytes() != good:
            program.write_bytes(good)


def test_each_phone_gets_the_best_that_it_can_run() -> None:
    snapdragon_888 = frozenset({"fp", "asimd", "asimdhp", "asimddp", "lrcpc"})
    assert best_target(snapdragon_888 | {"i8mm", "bf16"}) == I8MM
    assert best_target(snapdragon_888) == DOTPROD
    assert best_target(frozenset({"fp", "asimd"})) is None


def test_the_ndk_is_asked_for_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ANDROID_NDK_ROOT", raising=False)
    with pytest.raises(DeviceError, match="ANDROID_NDK_ROOT is not set"):
        build_phone(NDK, progress=Unseen())
    monkeypatch.setenv("ANDROID_NDK_ROOT", str(tmp_path))
    with pytest.raises(DeviceError, match=r"android\.toolchain\.cmake is missing"):
        build_phone(NDK, progress=Unseen())
