"""Unfinished output: files beside their place, and a journal of the tensors that are complete.

A tensor enters the journal only after its bytes are on the disk, so whatever kills the process,
or the machine, the next run goes on from the journal and ends with the same files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence, Set
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
def open_partial(
    out: Path, files: Sequence[OutputFile], key: str, tensors: Set[str]
) -> Iterator[Journal]:
    """The unfinished files of this very export, new or as an earlier run left them.

    `key` identifies checkpoint, options and layout; another key's leftovers are removed, and so are
    those that lack a file. `tensors`: the names of all that the files are made of.
    """
    folder = out / FOLDER
    with full_disk_is_bad_input(folder):
        goes_on = _read_key(folder) == key
        if goes_on:
            finished = _read_finished(folder)
            goes_on = _all_there(out, files, published=tensors <= finished.keys())
        if not goes_on:
            remove(out)
            finished = {}
        paths = [folder / file.about.path for file in files]
        there = sum(p.stat().st_blocks * 512 for p in paths if p.exists())
        require_space(out, sum(file.size for file in files) - there)
        folder.mkdir(exist_ok=True)
        if not goes_on:
            for file, path in zip(files, paths, strict=True):
                _create(file, path)
            (folder / "key").write_text(key)
        handles: list[int] = []
        try:
            # A file that is gone was complete and has its final name already.
            handles += [os.open(p, os.O_WRONLY) for p in paths if p.exists()]
            yield Journal(folder, handles, finished)
        finally:
            for handle in handles:
                os.close(handle)


def _all_there(out: Path, files: Sequence[OutputFile], *, published: bool) -> bool:
    """Whether every file is there to go on with; a complete one (`published`) may have its final
    name already."""
    places = (out / FOLDER, out) if published else (out / FOLDER,)
    return all(
        any(_size(place / file.about.path) == file.size for place in places) for file in files
    )


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _create(file: OutputFile, path: Path) -> None:
    """The file in its full size, with its header: a full disk shows now and not an hour later."""
    with path.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, file.size)
        out.write(file.header)
        out.flush()
        os.fsync(out.fileno())


def _read_key(folder: Path) -> str | None:
    try:
        return (folder / "key").read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _read_finished(folder: Path) -> dict[str, str]:
    """The journal's whole lines. A line that a crash cut short is removed from the file, because
    the next one would be written right behind it."""
    path, finished, good = folder / "journal", dict[str, str](), 0
    content = path.read_bytes() if path.is_file() else b""
    for line in content.splitlines(keepends=True):
        try:
            name, digest = json.loads(line)
        except (ValueError, TypeError):
            break
        if not line.endswith(b"\n") or not isinstance(name, str) or not isinstance(digest, str):
            break
        finished[name] = digest
        good += len(line)
    if good < len(content):
        os.truncate(path, good)
    return finished


def remove(out: Path) -> None:
    shutil.rmtree(out / FOLDER, ignore_errors=True)
