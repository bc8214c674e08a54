"""Unfinished output: files beside their place, and a journal of the tensors that are complete.

A tensor enters the journal only after its bytes are on the disk, so whatever kills the process,
or the machine, the next run goes on from the journal and ends with the same files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from imp_deploy.convert.layout import OutputFile
from imp_deploy.convert.output import Output
from imp_deploy.convert.plan import Work
from imp_deploy.files import full_disk_is_bad_input, require_space

FOLDER = ".partial"
_COMMIT_BYTES = 512 << 20


@dataclass
class Journal:
    """`outputs`: the unfinished files, None for one that has its final name; `todo`: what they
    lack; `finished`: digest by tensor name."""

    folder: Path
    outputs: list[Output | None]
    todo: list[Work]
    finished: dict[str, str]
    _thread: ThreadPoolExecutor
    _pending: deque[tuple[Work, str]] = field(default_factory=deque)
    _pending_bytes: int = 0
    _last: Future[None] | None = None
    _failed: bool = False

    def done(self, work: Work, digest: str) -> None:
        """The files have been given all bytes of a tensor. Now and then a commit, beside the work:
        the disk may take its time."""
        self._pending.append((work, digest))
        self._pending_bytes += work.source.nbytes
        if self._pending_bytes >= _COMMIT_BYTES:
            if self._last is not None:
                self._last.result()
            self._pending_bytes = 0
            self._last = self._thread.submit(self._commit)

    def commit(self) -> None:
        """Makes the finished tensors durable, then says so."""
        # In the same thread, behind a commit that may be going on when Ctrl-C leads here.
        self._thread.submit(self._commit).result()

    def _commit(self) -> None:
        if self._failed:
            return  # the system reports lost data once: another fdatasync would find all well
        self._failed = True
        durable = [None if o is None else o.written for o in self.outputs]
        for output in self.outputs:
            if output is not None:
                os.fdatasync(output.handle)
        finished = []
        while self._pending and _covers(durable, self._pending[0][0]):
            work, digest = self._pending.popleft()
            finished.append((work.source.name, digest))
        with (self.folder / "journal").open("a") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in finished)
            file.flush()
            os.fsync(file.fileno())
        self.finished.update(finished)
        self._failed = False


def _covers(lengths: Sequence[int | None], work: Work) -> bool:
    """Whether files that are so long hold all of a tensor; None: the whole file."""
    found = ((lengths[target.file], target.slot.end) for target in work.targets)
    return all(length is None or end <= length for length, end in found)


@contextlib.contextmanager
def open_partial(
    out: Path, files: Sequence[OutputFile], key: str, work: Sequence[Work]
) -> Iterator[Journal]:
    """The unfinished files of this very export, new or as an earlier run left them.

    `key` identifies checkpoint, options and layout; another key's leftovers are removed, and so are
    those that lack a file. `work`: all that the files are made of, in their order.
    """
    folder = out / FOLDER
    with full_disk_is_bad_input(folder):
        goes_on = _read_key(folder) == key
        if goes_on:
            finished = _read_finished(folder)
            published = all(w.source.name in finished for w in work)
            goes_on = _all_there(out, files, published=published)
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
        count = next((i for i, w in enumerate(work) if w.source.name not in finished), len(work))
        starts = _ends(work[:count], len(files))
        handles: list[int] = []
        try:
            outputs: list[Output | None] = []
            for file, path, start in zip(files, paths, starts, strict=True):
                # A file that is gone was complete and has its final name already.
                if path.exists():
                    handles.append(os.open(path, os.O_RDWR))
                    outputs.append(Output(handles[-1], file, start))
                else:
                    outputs.append(None)
            with ThreadPoolExecutor(1) as thread:
                yield Journal(folder, outputs, list(work[count:]), finished, thread)
        finally:
            for handle in handles:
                os.close(handle)


def _ends(work: Sequence[Work], files: int) -> list[int]:
    """For each file where the last of the tensors `work` ends; 0 if it holds none of them."""
    ends = [0] * files
    for target in (target for w in work for target in w.targets):
        ends[target.file] = max(ends[target.file], target.slot.end)
    return ends


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
    """The file in its full size: a full disk shows now and not an hour later."""
    with path.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, file.size)
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
