"""The two passes over the questions: the reference's, which is kept, and a variant's against it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from imp_deploy.bench.quality import work
from imp_deploy.bench.quality.batches import Batch
from imp_deploy.bench.quality.compare import Compared, Finished, compared
from imp_deploy.bench.quality.distribution import DROPPED
from imp_deploy.bench.quality.pairs import Pair, Side
from imp_deploy.bench.quality.reference import Store, read_part
from imp_deploy.files import full_disk_is_bad_input
from imp_deploy.progress import Progress
from imp_deploy.results import RunnerRecord
from imp_deploy.runner import Answer

FORMAT: Final = 1  # of what is kept: raise it when that, or the way to compute it, changes


@dataclass(frozen=True, kw_only=True)
class Host:
    """`program`: the runner; `shown` makes a progress display for a phase."""

    program: Path
    record: RunnerRecord
    threads: int
    shown: Callable[[], Progress]


@dataclass(frozen=True, kw_only=True)
class Plan:
    pair: Pair
    batches: tuple[Batch, ...]
    max_tokens: int
    host: Host
    out: Path

    def store(self) -> Store:
        key = _reference_key(self)
        return Store(self.out / f"reference-{key[:16]}", key)

    def finished(self) -> Finished:
        store = self.store()
        return Finished(store.folder, digest([store.key, _side_key(self.pair.candidate)]))


def digest(value: Any) -> str:
    """SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def keep_reference(plan: Plan) -> None:
    """Asks the reference what is not kept yet."""
    store = plan.store()

    def keep(batch: Batch, answers: Sequence[Answer], folder: Path) -> None:
        store.save(batch, read_part(plan.pair, batch, answers, folder))

    missing = [batch for batch in plan.batches if not store.has(batch)]
    _ask(plan, plan.pair.reference, "reference", missing, keep, None)


def compare_variant(plan: Plan) -> tuple[Compared, ...]:
    """Compares what is not compared yet; a result per batch."""
    store, finished = plan.store(), plan.finished()
    found = {batch.index: finished.load(batch) for batch in plan.batches}

    def compare(batch: Batch, _answers: Sequence[Answer], folder: Path) -> None:
        result = compared(plan.pair, batch, store.load(batch), folder)
        finished.save(batch, result)
        found[batch.index] = result

    missing = [batch for batch in plan.batches if found[batch.index] is None]
    _ask(plan, plan.pair.candidate, "", missing, compare, lambda batch: store.load(batch).tokens)
    return tuple(part for part in found.values() if part is not None)


def forget(plan: Plan) -> None:
    """Removes what was kept of the variant, once its result is written."""
    finished = plan.finished()
    for batch in plan.batches:
        finished.path(batch).unlink(missing_ok=True)


def _ask(
    plan: Plan,
    side: Side,
    role: str,
    missing: Sequence[Batch],
    read: work.Read,
    force: work.Force | None,
) -> None:
    if not missing:
        return
    variant = side.variant
    bar = plan.host.shown()
    name = f"{role} {variant.llm.bits}-bit@{side.resolution}".strip()
    bar.start(name, sum(len(batch.asked) for batch in missing))
    with _scratch(plan.store().folder) as scratch:
        work.carry_out(
            plan.host.program,
            side,
            missing,
            scratch,
            read,
            max_tokens=plan.max_tokens,
            threads=plan.host.threads,
            advance=bar.advance,
            force=force,
        )


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A new folder in `folder`, where those of killed programs are removed. New each time, because
    a runner that such a program left behind may still be at work in its own."""
    with full_disk_is_bad_input(folder):
        folder.mkdir(exist_ok=True)
        for old in folder.glob("scratch-*"):
            shutil.rmtree(old, ignore_errors=True)
        made = Path(tempfile.mkdtemp(prefix="scratch-", dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _reference_key(plan: Plan) -> str:
    host = plan.host
    asked = [
        [entry.question.id, entry.question.text, entry.sha256, batch.index]
        for batch in plan.batches
        for entry in batch.asked
    ]
    return digest(
        {
            "format": [FORMAT, DROPPED],
            "runner": [host.record.sha256, host.record.system_info],
            "decoding": [plan.max_tokens, _threads(host.threads)],
            "side": _side_key(plan.pair.reference),
            "asked": asked,
        }
    )


def _threads(asked: int) -> int:
    """As many as the runner takes."""
    allowed = len(os.sched_getaffinity(0))
    return min(asked or allowed, allowed)


def _side_key(side: Side) -> str:
    """Of all that its answers depend on besides the questions."""
    spec = side.bundle.prompt
    files = [side.variant.llm.sha256, side.variant.vision.sha256]
    prompt = [spec.template, list(spec.stop), spec.normalize]
    return digest([files, prompt, side.resolution, side.bundle.preprocess.mode])
