"""Locks and copies that several processes use at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from imp_deploy.errors import BadInput
from imp_deploy.files import alone, copy_atomic, hold, write_atomic

HOLDER = """
import sys
from pathlib import Path
from imp_deploy.files import hold
with hold(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_what_another_process_holds_is_refused_with_its_number(tmp_path: Path) -> None:
    """Two benches that write the same results would lose samples of each other."""
    lock = tmp_path / "lock"
    argv = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(BadInput, match=rf"by process {other.pid} now"),
            hold(lock, "Used by process {process} now."),
        ):
            pass
        other.kill()
    with hold(lock, "busy"):  # of a killed process, the system lets go
        assert lock.exists()
    assert not lock.exists()


def test_threads_that_want_to_be_alone_are_so_one_after_the_other(tmp_path: Path) -> None:
    """Two builds in one folder would compile into each other's files."""
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(4):
            with alone(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.005)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 32
    assert list(tmp_path.iterdir()) == []


def test_a_copy_is_never_seen_in_part(tmp_path: Path) -> None:
    """A program that another call is about to start."""
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    source.write_bytes(b"x" * 20_000_000)
    source.chmod(0o755)
    sizes: set[int] = set()
    threads = [threading.Thread(target=copy_atomic, args=(source, target)) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if target.exists():
            sizes.add(target.stat().st_size)
    assert sizes <= {20_000_000}
    assert target.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    source.write_bytes(b"x")
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        copy_atomic(source, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "source"]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    """`--out /dev/stdout` is a common idiom; replacing it would break the machine."""
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    real.write_text("old")
    link.symlink_to(real)
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(pipe, b"through")
    assert os.read(reader, 100) == b"through"
    assert pipe.is_fifo()
    os.close(reader)
