"""Files that are written in order, past the page cache where that is possible."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imp_deploy.bundle import BundleFile
from imp_deploy.convert import output
from imp_deploy.convert.layout import OutputFile
from imp_deploy.convert.output import Output
from imp_deploy.files import sha256_of
from tests.small import contents, run_export

BLOCK, BUFFER = 4096, 8192
SIZES = [1, BLOCK - 1, BLOCK, BLOCK + 1, BUFFER - 1, BUFFER, BUFFER + 1, 5 * BUFFER + BLOCK + 7]


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "BUFFER_BYTES", BUFFER)


def described(header: bytes, size: int) -> OutputFile:
    about = BundleFile(path="x.gguf", role="llm", bits=16, type="F16", bytes=0, sha256="")
    return OutputFile(about, header, {}, size)


def write(path: Path, content: bytes, start: int = 0) -> str:
    """Writes `content` from `start` on, the first byte of it as the header."""
    chance = random.Random(len(content) + start)
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        file = Output(handle, described(content[:1], len(content)), start)
        file.begin()
        while file.position < len(content):
            end = file.position + chance.randint(1, 3 * BLOCK)
            file.append(np.frombuffer(content[file.position : end], dtype=np.uint8))
        return file.finish()
    finally:
        os.close(handle)


@pytest.mark.parametrize("size", SIZES)
def test_every_size(size: int, tmp_path: Path) -> None:
    """A file is not whole blocks of a disk, and its hash is what a download is checked with."""
    content, path = random.Random(size).randbytes(size), tmp_path / "x"
    digest = write(path, content)
    assert path.read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest() == sha256_of(path)


@pytest.mark.parametrize("start", SIZES)
def test_goes_on_at_any_byte(start: int, tmp_path: Path) -> None:
    """A tensor ends anywhere in a block; what is there stays, whatever lies behind it is garbage,
    and the hash is that of the whole file."""
    size = SIZES[-1]
    content, path = random.Random(start).randbytes(size), tmp_path / "x"
    path.write_bytes(content[:start] + b"\xff" * (size - start))
    assert write(path, content, start) == hashlib.sha256(content).hexdigest()
    assert path.read_bytes() == content


def test_a_file_that_lost_its_end(tmp_path: Path) -> None:
    """Bytes that the journal promises and the disk has not must not be made up."""
    path = tmp_path / "x"
    path.write_bytes(b"x" * BLOCK)
    with pytest.raises(OSError, match=r"x\.gguf"):
        write(path, b"x" * 3 * BLOCK, 2 * BLOCK)


def test_gaps_are_zeros(tmp_path: Path) -> None:
    """Between tensors and behind the last."""
    path = tmp_path / "x"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    file = Output(handle, described(b"head", 100), 0)
    file.begin()
    file.pad(32)
    file.append(np.arange(3, dtype=np.float32))
    file.pad(64)
    digest = file.finish()
    os.close(handle)
    expected = b"head".ljust(32, b"\0") + np.arange(3, dtype=np.float32).tobytes()
    assert path.read_bytes() == expected.ljust(100, b"\0")
    assert digest == sha256_of(path)


def is_direct(handle: int) -> bool:
    return bool(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_DIRECT)


def no_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """As some network and memory file systems."""
    real = fcntl.fcntl

    def refusing(handle: int, command: int, value: int = 0) -> int:
        if command == fcntl.F_SETFL and value & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(handle, command, value)

    monkeypatch.setattr(fcntl, "fcntl", refusing)


def no_such_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose blocks are larger than ours."""
    real = os.pwrite

    def refusing(handle: int, data: Any, offset: int) -> int:
        if is_direct(handle):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", refusing)


def short_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take less than it is given."""
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: real(handle, data[:BLOCK], at))


@pytest.mark.parametrize("odd", [no_flag, no_such_write, short_writes])
def test_file_systems_that_do_not_write_directly(
    odd: Callable[[pytest.MonkeyPatch], None],
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An output folder may be anywhere; the files are the same ones, and the manifest tells the
    truth of them."""
    run_export(made / "phi2", tmp_path / "usual")
    with monkeypatch.context() as other:
        odd(other)
        exported = run_export(made / "phi2", tmp_path / "odd")
    assert contents(tmp_path / "odd") == contents(tmp_path / "usual")
    for file in exported.bundle.files:
        assert sha256_of(tmp_path / "odd" / file.path) == file.sha256


def supports_direct(folder: Path) -> bool:
    handle = os.open(folder / "probe", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.fcntl(handle, fcntl.F_SETFL, os.O_DIRECT)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def test_blocks_go_past_the_page_cache(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a full-size export takes ten more seconds of processor time, and pushes everything
    else out of the memory of a laptop."""
    if not supports_direct(tmp_path):
        pytest.skip("this file system has no O_DIRECT")
    real, written = os.pwrite, {True: 0, False: 0}

    def counted(handle: int, data: Any, offset: int) -> int:
        written[is_direct(handle)] += len(data)
        return real(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", counted)
    files = run_export(made / "phi2", tmp_path / "bundle").bundle.files
    assert written[False] < (len(files) + 1) * BLOCK  # the ends of the files, and the lock
    assert written[True] > sum(file.bytes for file in files) - len(files) * BLOCK
