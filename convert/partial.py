"""Unfinished output: files beside their place, and a journal of the tensors that are complete.

A tensor enters the journal only after its bytes are on the disk, so whatever kills the process,
or the machine, the next run goes on from the journal and ends with the same files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imp_deploy.convert.layout import OutputFile
from imp_deploy.convert.plan import Work
from imp_deploy.files import full_disk_is_bad_input, require_space

FOLDER = ".partial"
_COMMIT_BYTES = 512 << 20


@dataclass
class Journal:
    """`finished`: digest by tensor name. `handles`: descriptors of the unfinished files."""

    folder: Path
    handles: list[int]
    finished: dict[str, str]
    _pending: list[tuple[str, str]] = field(default_factory=list)
    _pending_bytes: int = 0

    def done(self, work: Work, digest: str) -> None:
        self._pending.append((work.source.name, digest))
        self._pending_bytes += work.source.nbytes
        if self._pending_bytes >= _COMMIT_BYTES:
            self.commit()

    def commit(self) -> None:
        """Makes the finished tensors durable, then says so."""
        for handle in self.handles:
            os.fdatasync(handle)
        with (self.folder / "journal").open("a") as file:
            for name, digest in self._pending:
                file.write(json.dumps([name, digest]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.finished.update(self._pending)
        self._pending.clear()
        self._pending_bytes = 0


@contextlib.contextmanager
def open_partial(out: Path, files: Sequence[OutputFile], key: str) -> Iterator[Journal]:
    """The unfinished files of this very export, new or as an earlier run left them.

    `key` identifies checkpoint, options and layout; another key's leftovers are removed.
    """
    folder = out / FOLDER
    if _read_key(folder) != key:
        shutil.rmtree(folder, ignore_errors=True)
    finished = _read_finished(folder)
    paths = [folder / file.about.path for file in files]
    there = sum(p.stat().st_blocks * 512 for p in paths if p.exists())
    require_space(out, sum(file.size for file in files) - there)
    handles: list[int] = []
    with full_disk_is_bad_input(folder):
        folder.mkdir(exist_ok=True)
        if not (folder / "key").exists():
            for file, path in zip(files, paths, strict=True):
                _create(file, path)
            (folder / "key").write_text(key)
        try:
            # A file that is gone was complete and has its final name already.
            handles += [os.open(p, os.O_WRONLY) for p in paths if p.exists()]
            yield Journal(folder, handles, finished)
        finally:
            for handle in handles:
                os.close(handle)


def _create(file: OutputFile, path: Path) -> None:
    """The file in its full size, with its header: a full disk shows now and not an hour later."""
    with path.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, file.size)
        out.write(file.header)


def _read_key(folder: Path) -> str | None:
    try:
        return (folder / "key").read_text()
    except OSError:
        return None


def _read_finished(folder: Path) -> dict[str, str]:
    finished: dict[str, str] = {}
    try:
        lines = (folder / "journal").read_text().split("\n")
    except OSError:
        return finished
    for line in lines[:-1]:  # a line that a crash cut short has no newline
        name, digest = json.loads(line)
        finished[name] = digest
    return finished


def remove(out: Path) -> None:
    shutil.rmtree(out / FOLDER, ignore_errors=True)
