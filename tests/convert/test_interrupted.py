"""Exports that are killed, run out of space, or meet each other."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from imp_deploy.convert import output, partial
from tests.small import contents, copied, edit_weights, finished_files, refused, run_export


@pytest.mark.parametrize("scenario", ["new", "more bits", "forced"])
def test_killed_at_any_moment(scenario: str, made: Path, tmp_path: Path) -> None:
    """An export of a large model takes minutes: whatever ends it, the next run must go on and give
    the same files, or the user starts again and again, or trusts a half-written one."""
    for name in ("phi2", "qwen2"):
        copied(made / name, tmp_path / name)
    program = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), scenario], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    result = json.loads(done.stdout)
    assert result["moments"] > 30
    assert result["wrong"] == []


def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small export is written in a hundred pieces, and its journal several times."""
    monkeypatch.setattr(output, "BUFFER_BYTES", 4096)
    monkeypatch.setattr(partial, "_COMMIT_BYTES", 40_000)


def fails(after: int, error: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` for `after` calls, and from then on a system that reports `error`."""
    calls = 0

    def failing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(error, os.strerror(error))
        return function(*arguments)

    return failing


def test_data_that_the_system_lost_once_stays_lost(
    made: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel reports a failed writing once. Who then asks again hears that all is well, and
    would go on behind a hole in the file."""
    often(monkeypatch)
    real, calls = os.fdatasync, 0

    def once(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(handle)

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", once)
        refused(made / "phi2", out, "A disk failed while writing")
    journal = out / partial.FOLDER / "journal"
    assert not journal.exists() or journal.read_bytes() == b""
    run_export(made / "phi2", out)
    run_export(made / "phi2", out.parent / "whole")
    assert contents(out) == contents(out.parent / "whole")


def test_ctrl_c_while_the_journal_is_written(
    made: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One commit at a time: two together would take tensors for durable that are not."""
    often(monkeypatch)
    real, at_once, most = os.fdatasync, 0, 0

    def slow(handle: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.002)
        real(handle)
        at_once -= 1

    interrupted = False

    def waiting(journal: partial.Journal, work: Any, digest: str) -> None:
        nonlocal interrupted
        done(journal, work, digest)
        if journal._last is not None and not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    done = partial.Journal.done
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", slow)
        broken.setattr(partial.Journal, "done", waiting)
        with pytest.raises(KeyboardInterrupt):
            run_export(made / "phi2", out)
    assert interrupted
    assert most == 1
    run_export(made / "phi2", out)
    run_export(made / "phi2", out.parent / "whole")
    assert contents(out) == contents(out.parent / "whole")


@pytest.mark.parametrize(
    ("name", "after"),
    [
        *(("posix_fallocate", 0), ("posix_fallocate", 2)),
        *(("pwrite", 1), ("pwrite", 40), ("fdatasync", 0), ("fdatasync", 6)),
        *(("fsync", 0), ("fsync", 4), ("fsync", 6), ("fsync", -4), ("fsync", -3)),
    ],
)
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(
    name: str, after: int, error: int, made: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up at any write; there must be no file that looks finished, and after making
    room the same command must go on. `after` below zero: counted from the end of an export."""
    often(monkeypatch)
    if after < 0:
        with monkeypatch.context() as counted:
            calls: list[int] = []
            counted.setattr(os, name, lambda handle: calls.append(handle))
            run_export(made / "phi2", out.parent / "counted")
        after += len(calls)
    with monkeypatch.context() as full:
        full.setattr(os, name, fails(after, error, getattr(os, name)))
        refused(made / "phi2", out, str(out), "disk is full", "free some space")
    run_export(made / "phi2", out)
    run_export(made / "phi2", out.parent / "expected")
    assert contents(out) == contents(out.parent / "expected")


def test_full_disk_for_real(made: Path, out: Path) -> None:
    """The same with a limit that the system itself enforces."""
    script = (
        "import resource, sys; from pathlib import Path; from tests.small import refused\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
        "print(refused(Path(sys.argv[1]), Path(sys.argv[2]), 'disk is full'))"
    )
    command = [sys.executable, "-c", script, str(made / "phi2"), str(out)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])


def test_too_little_space_shows_before_writing(
    made: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody should wait an hour to learn it."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    refused(made / "phi2", out, str(out), "GiB free", "free some space")
    assert not (out / partial.FOLDER).exists()


def test_folder_in_use(made: Path, out: Path) -> None:
    """Two exports into one folder would write into each other's files."""
    out.mkdir()
    lock = out / ".export.lock"
    lock.write_text("4711")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(made / "phi2", out, str(out), "in use by another export (process 4711)", "wait")
    # The lock of a program that was killed is free, whatever the file says.
    assert run_export(made / "phi2", out).written
    assert not lock.exists()


def test_lock_that_was_removed_in_between(
    made: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on a file that its owner has removed locks nothing: two exports would run."""
    out.mkdir()
    real, calls = fcntl.flock, []

    def late(handle: int, kind: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            (out / ".export.lock").unlink()
        real(handle, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    run_export(made / "phi2", out)
    assert len(calls) == 2


READ_ONLY = """
import os, sys
from pathlib import Path
from tests.small import refused, run_export
checkpoint, scratch, out = map(Path, sys.argv[1:])
run_export(checkpoint, scratch)  # everything is imported before the rights are gone
if os.geteuid() == 0:
    os.seteuid(65534)
refused(checkpoint, out, str(out), "may not be written", "choose another output folder")
refused(checkpoint, out / "below", str(out), "may not be written")
"""


def test_read_only_folder(made: Path, tmp_path: Path) -> None:
    """A mounted disk or another user's folder."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        checkpoint = copied(made / "phi2", folder / "checkpoint")
        for path in (folder, checkpoint, *checkpoint.iterdir()):
            path.chmod(0o755)
        out = folder / "out"
        out.mkdir(mode=0o555)
        command = [sys.executable, "-c", READ_ONLY, checkpoint, tmp_path / "scratch", out]
        root = Path(__file__).parents[2]
        done = subprocess.run(list(map(str, command)), capture_output=True, check=False, cwd=root)
        assert done.returncode == 0, done.stderr.decode()
        assert list(out.iterdir()) == []


@pytest.fixture
def stopped(made: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output folder in which an export was interrupted half-way; one worker, so that it is
    always the same half."""
    often(monkeypatch)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", fails(90, errno.ENOSPC, os.pwrite))
        refused(made / "phi2", out, "disk is full")
    assert len((out / partial.FOLDER / "journal").read_text().splitlines()) > 5
    return out


def expected(made: Path, out: Path) -> dict[str, bytes]:
    run_export(made / "phi2", out.parent / "expected")
    return contents(out.parent / "expected")


def test_goes_on_where_it_stopped(
    made: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the second half of an hour is spent on the first half again."""
    writes: list[int] = []
    real = os.pwrite

    def counted(handle: int, data: Any, offset: int) -> int:
        writes.append(offset)
        return real(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", counted)
    run_export(made / "phi2", stopped)
    again = len(writes)
    run_export(made / "phi2", stopped.parent / "expected")
    assert again < 0.8 * (len(writes) - again)
    assert contents(stopped) == contents(stopped.parent / "expected")


def test_another_checkpoint_does_not_go_on(made: Path, tmp_path: Path, stopped: Path) -> None:
    """A fine-tuned model has files of the same names and sizes: half of each would be no model."""
    other = copied(made / "phi2", tmp_path / "other")

    def change(tensors: dict[str, Any]) -> None:
        for tensor in tensors.values():
            tensor += 1

    edit_weights(other / "model.safetensors", change)
    run_export(other, stopped)
    run_export(other, tmp_path / "expected")
    assert contents(stopped) == contents(tmp_path / "expected")


@pytest.mark.parametrize("cut", [1, 20, 70])
def test_journal_that_a_crash_cut_short(
    cut: int, made: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next line would be written right behind the broken one, and be lost with all others."""
    journal = stopped / partial.FOLDER / "journal"
    whole = journal.read_bytes()[:-cut]
    journal.write_bytes(whole)
    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", fails(40, errno.ENOSPC, os.pwrite))
        refused(made / "phi2", stopped, "disk is full")
    lines = journal.read_text().splitlines()
    assert [len(json.loads(line)) for line in lines] == [2] * len(lines)
    assert len(lines) > whole.count(b"\n")
    run_export(made / "phi2", stopped)
    assert contents(stopped) == expected(made, stopped)


@pytest.mark.parametrize("content", [b"\0" * 50, b"\xff\n", b"5\n", b"[1, 2]\n", b'["a"]\n'])
def test_journal_of_nonsense(content: bytes, made: Path, stopped: Path) -> None:
    """A crash of the machine may leave anything in the last block of a file."""
    with (stopped / partial.FOLDER / "journal").open("ab") as file:
        file.write(content)
    run_export(made / "phi2", stopped)
    assert contents(stopped) == expected(made, stopped)


@pytest.mark.parametrize("lost", ["Imp-F16.gguf", "mmproj-Imp-56-F16.gguf", "key", "journal"])
def test_half_of_the_unfinished_files_is_gone(lost: str, made: Path, stopped: Path) -> None:
    """Somebody made room; what the journal says of that file is no longer true."""
    (stopped / partial.FOLDER / lost).unlink()
    run_export(made / "phi2", stopped)
    assert contents(stopped) == expected(made, stopped)


def test_an_interrupted_export_shows_no_files(stopped: Path) -> None:
    """A half-written file under its final name is taken for a finished one."""
    assert finished_files(stopped) == []
