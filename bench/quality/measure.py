"""Intrinsic quality: every pair's distributions and embeddings, compared question by question."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy import quality
from imp_deploy.bench.describe import describe
from imp_deploy.bench.evaluate.selection import Selection
from imp_deploy.bench.host import HostDevice
from imp_deploy.bench.programs import program_for, runner_record, system_info
from imp_deploy.bench.quality import kept
from imp_deploy.bench.quality.batches import BATCH_BYTES, Asked, batches, look
from imp_deploy.bench.quality.pairs import Pair
from imp_deploy.bench.quality.passes import (
    Host,
    Plan,
    compare_variant,
    digest,
    forget,
    keep_reference,
)
from imp_deploy.bench.subject import bundle_record, variant_record
from imp_deploy.files import full_disk_is_bad_input, hold
from imp_deploy.progress import Progress
from imp_deploy.quality import Quality


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`threads` 0: all of the machine's. `batch_bytes`: see batches.py."""

    max_tokens: int = 32
    threads: int = 0
    batch_bytes: int = BATCH_BYTES


@dataclass(frozen=True, kw_only=True)
class Measured:
    """`kept`: by an earlier call."""

    path: Path
    result: Quality
    kept: bool


def measure(
    selection: Selection,
    pairs: Sequence[Pair],
    settings: Settings,
    *,
    out: Path,
    force: bool = False,
    shown: Callable[[], Progress],
) -> tuple[Measured, ...]:
    """A result per pair, in their order, each written to `out` as soon as it is complete. `shown`
    makes a progress display for a phase, counted in questions. What an earlier call finished, or
    did a part of, is not computed again; `force` leaves finished results aside, but no references,
    which are what their keys say."""
    with full_disk_is_bad_input(out):
        out.mkdir(parents=True, exist_ok=True)
    busy = (
        f"{out} is in use by another `imp-deploy quality` (process {{process}}); wait for it to "
        "end, or choose another folder with --out."
    )
    with hold(out / ".quality.lock", busy):
        looking = shown()
        looking.start("pictures", len(selection.questions))
        asked = look(selection.questions, looking.advance)
        host = _host(settings, shown)
        fresh = [_without_items(selection, pair, settings, asked, host) for pair in pairs]
        # All of them before any work: a file in the way shall not be found after an hour.
        earlier = [kept.earlier(out, result, force=force) for result in fresh]
        return tuple(
            Measured(path=kept.result_path(out, old), result=old, kept=True)
            if old is not None
            else _measured(selection, new, pair, settings, asked, host, out)
            for new, old, pair in zip(fresh, earlier, pairs, strict=True)
        )


def _host(settings: Settings, shown: Callable[[], Progress]) -> Host:
    device = HostDevice()
    program = program_for(describe(device), shown())
    says = system_info(device, program, str(program.path))
    return Host(
        program=program.path,
        record=dataclasses.replace(runner_record(program), system_info=says),
        threads=settings.threads,
        shown=shown,
    )


def _without_items(
    selection: Selection, pair: Pair, settings: Settings, asked: Sequence[Asked], host: Host
) -> Quality:
    return Quality(
        task=selection.record,
        bundle=bundle_record(pair.candidate.bundle, pair.candidate.variant),
        variant=variant_record(pair.candidate.variant),
        reference_bundle=bundle_record(pair.reference.bundle, pair.reference.variant),
        reference=variant_record(pair.reference.variant),
        runner=host.record,
        max_tokens=settings.max_tokens,
        threads=settings.threads,
        dropped_mass=0.0,
        pictures_sha256=digest([entry.sha256 for entry in asked]),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        items=(),
    )


def _measured(
    selection: Selection,
    result: Quality,
    pair: Pair,
    settings: Settings,
    asked: Sequence[Asked],
    host: Host,
    out: Path,
) -> Measured:
    plan = Plan(
        pair=pair,
        batches=batches(asked, pair, settings.max_tokens, settings.batch_bytes),
        max_tokens=settings.max_tokens,
        host=host,
        out=out,
    )
    keep_reference(plan)
    parts = compare_variant(plan)
    # In the order of the benchmark: the batches have another, by picture.
    items = {item.id: item for part in parts for item in part.items}
    complete = dataclasses.replace(
        result,
        dropped_mass=max(part.dropped_mass for part in parts),
        items=tuple(items[question.id] for question in selection.questions),
    )
    path = kept.result_path(out, complete)
    quality.save(path, complete)
    forget(plan)
    return Measured(path=path, result=complete, kept=False)
