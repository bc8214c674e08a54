"""One pass over the checkpoint on all cores: every tensor is read once, whatever the outputs."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from imp_deploy.convert import ggml
from imp_deploy.convert.blas import one_blas_thread
from imp_deploy.convert.piece import Piece, pieces_of, process
from imp_deploy.convert.plan import Work

Done = Callable[[Work, str], None]
Advance = Callable[[int], None]


def stream(work: Sequence[Work], targets: Sequence[int], done: Done, advance: Advance) -> None:
    """Processes `work` in the order in which the checkpoint's files hold it.

    `targets`: descriptors of the output files. `done(work, digest)` is called once per tensor, in
    order, when all its bytes are handed to the system; `advance(n)` after n input bytes.
    """
    ordered = sorted(work, key=lambda w: (str(w.source.path), w.source.offset))
    ggml.load()
    workers = len(os.sched_getaffinity(0))
    paths = {path for w in ordered for path in w.paths}
    with one_blas_thread(), _open_all(paths) as handles, ThreadPoolExecutor(workers) as pool:
        try:
            _feed(pool, 2 * workers, ordered, handles, targets, done, advance)
        finally:
            pool.shutdown(cancel_futures=True)


def _feed(
    pool: ThreadPoolExecutor,
    in_flight: int,
    ordered: Iterable[Work],
    handles: Mapping[Path, int],
    targets: Sequence[int],
    done: Done,
    advance: Advance,
) -> None:
    waiting: deque[tuple[Piece, Future[bytes]]] = deque()
    digests: list[bytes] = []

    def finish_oldest() -> None:
        piece, future = waiting.popleft()
        digests.append(future.result())
        tensor = piece.work.source
        advance(piece.count * tensor.nbytes // max(1, tensor.rows))
        if piece.first + piece.count >= tensor.rows:
            done(piece.work, hashlib.sha256(b"".join(digests)).hexdigest())
            digests.clear()

    for work in ordered:
        for piece in pieces_of(work):
            if len(waiting) >= in_flight:
                finish_oldest()
            waiting.append((piece, pool.submit(process, piece, handles, targets)))
    while waiting:
        finish_oldest()


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

    stream([dataclasses.replace(w, targets=()) for w in work], (), done, advance)
    return combine(digests, work)
