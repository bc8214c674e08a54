"""One pass over the checkpoint on all cores: every tensor is read once, whatever the outputs.

Pieces are converted by a thread per core. Every output file has a thread of its own, which gets
them in the order of the file, and copies, hashes and writes them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from imp_deploy.convert import ggml
from imp_deploy.convert.blas import one_blas_thread
from imp_deploy.convert.layout import Slot
from imp_deploy.convert.output import Array, Output
from imp_deploy.convert.piece import Converted, Piece, pieces_of, process
from imp_deploy.convert.plan import Work

Done = Callable[[Work, str], None]
Advance = Callable[[int], None]

# More cores than these only wait for the thread that hashes the largest file, 1.5 GB/s, and every
# one of them has a piece in memory.
_MOST_WORKERS = 8


def in_file_order(work: Iterable[Work]) -> list[Work]:
    """The order in which `stream` can fill the files: all files of a model hold its tensors in one
    order."""
    return sorted(work, key=lambda w: (w.targets[0].file, w.targets[0].slot.offset))


def stream(
    work: Iterable[Work], outputs: Sequence[Output | None], done: Done, advance: Advance
) -> list[str | None]:
    """Fills the files; the SHA-256 of each.

    `work`: what is still to do, in the order of the files (`in_file_order`). `outputs`: None is a
    file that is complete. `done(work, digest)` is called once per tensor, in order, when every file
    has all its bytes; `advance(n)` after n input bytes.
    """
    work = list(work)
    ggml.load()
    workers = min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
    paths = {path for w in work for path in w.paths}
    with one_blas_thread(), _open_all(paths) as handles, contextlib.ExitStack() as stack:
        pool = stack.enter_context(_pool(workers))
        files = [None if o is None else _File(o, stack.enter_context(_pool(1))) for o in outputs]
        begun = [f.thread.submit(f.output.begin) for f in files if f is not None]
        for start in begun:
            start.result()
        _Flow(pool, 2 * workers, handles, files, done, advance).run(work)
        ends = [None if f is None else f.thread.submit(f.output.finish) for f in files]
        return [None if end is None else end.result() for end in ends]


@dataclass(frozen=True)
class _File:
    """An output and the thread that fills it."""

    output: Output
    thread: ThreadPoolExecutor


@dataclass(frozen=True)
class _Flow:
    """What is under way: at most `most` pieces that are converted, and as many that are written.
    Both queues hold pieces in the order of the files."""

    pool: ThreadPoolExecutor
    most: int
    sources: Mapping[Path, int]
    files: Sequence[_File | None]
    done: Done
    advance: Advance
    converting: deque[tuple[Piece, Future[Converted]]] = field(default_factory=deque)
    writing: deque[tuple[Piece, bytes, list[Future[None]]]] = field(default_factory=deque)
    digests: list[bytes] = field(default_factory=list)

    def run(self, work: Iterable[Work]) -> None:
        for item in work:
            for piece in pieces_of(item):
                if len(self.converting) >= self.most:
                    self._hand_over()
                self._read_ahead(piece)
                future = self.pool.submit(process, piece, self.sources)
                self.converting.append((piece, future))
        while self.converting:
            self._hand_over()
        while self.writing:
            self._finish()

    def _read_ahead(self, piece: Piece) -> None:
        """Has the system read the piece into its cache while others are converted."""
        handle = self.sources[piece.work.source.path]
        with contextlib.suppress(OSError):
            os.posix_fadvise(handle, piece.offset, piece.nbytes, os.POSIX_FADV_WILLNEED)

    def _hand_over(self) -> None:
        """Gives what has become of the oldest piece to the files."""
        piece, future = self.converting.popleft()
        converted = future.result()
        self.advance(piece.nbytes)
        appended = []
        for target, data in zip(piece.work.targets, converted.data, strict=True):
            file = self.files[target.file]
            assert file is not None, target
            appended.append(file.thread.submit(_append, file.output, target.slot, piece, data))
        self.writing.append((piece, converted.digest, appended))
        while len(self.writing) > self.most:
            self._finish()

    def _finish(self) -> None:
        piece, digest, appended = self.writing.popleft()
        for future in appended:
            future.result()
        self.digests.append(digest)
        if piece.last:
            self.done(piece.work, hashlib.sha256(b"".join(self.digests)).hexdigest())
            self.digests.clear()


def _append(output: Output, slot: Slot, piece: Piece, data: Array) -> None:
    if piece.first == 0:
        output.pad(slot.offset)
    output.append(data)
    assert output.position == slot.end or (output.position < slot.end and not piece.last), slot


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _open_all(paths: set[Path]) -> Iterator[dict[Path, int]]:
    handles: dict[Path, int] = {}
    try:
        for path in paths:
            handles[path] = os.open(path, os.O_RDONLY)
        yield handles
    finally:
        for handle in handles.values():
            os.close(handle)


def combine(digests: Mapping[str, str], work: Iterable[Work]) -> str:
    """The hash of a checkpoint's weights: independent of shards, files and their order."""
    lines = sorted(
        f"{w.source.name} {w.source.dtype} {list(w.source.shape)} {digests[w.source.name]}\n"
        for w in work
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def hash_weights(work: Sequence[Work], advance: Advance) -> str:
    """The same hash without writing anything; reads the checkpoint once."""
    digests: dict[str, str] = {}

    def done(item: Work, digest: str) -> None:
        digests[item.source.name] = digest

    in_order = sorted(work, key=lambda w: (str(w.source.path), w.source.offset))
    stream([dataclasses.replace(w, targets=()) for w in in_order], (), done, advance)
    return combine(digests, work)
