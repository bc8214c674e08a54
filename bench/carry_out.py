"""Carries out one run on the device: starts it or goes on with it, follows it, and keeps the result
files up to date."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy import results
from imp_deploy.bench import detached, findings, kept, outcome, plan, remote_run
from imp_deploy.bench.follow import Ended, follow
from imp_deploy.bench.outcome import Outcome
from imp_deploy.bench.plan import Repetition
from imp_deploy.bench.programs import Program
from imp_deploy.bench.remote_run import RunFolder
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings
from imp_deploy.bench.store_lock import Lock
from imp_deploy.bench.subject import Subject
from imp_deploy.bundle import Variant
from imp_deploy.errors import DeviceError
from imp_deploy.progress import Progress, Stages
from imp_deploy.results import Failure, Protocol, Result


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Where progress goes: bytes pushed, repetitions measured, and sentences."""

    pushing: Progress
    measuring: Stages
    say: Callable[[str], None]


@dataclass(frozen=True)
class Work:
    """What all runs of one call share. `variants`: by result file; `places`: on the device, by
    SHA-256."""

    session: Session
    subject: Subject
    settings: Settings
    program: Program
    shown: Shown
    variants: dict[Path, Variant]
    places: dict[str, str]

    @property
    def place(self) -> str:
        """Of the runner, on the device."""
        return self.places[self.program.sha256]

    def folder(self, run: str) -> RunFolder:
        return RunFolder(self.session.device.root, run)


def carry_out(work: Work, run: dict[Path, Result], files: dict[Path, Result]) -> list[str]:
    """To its end; `files` and the files on disk hold all that is known at every moment. Sentences
    about what is missing then."""
    files.update(run)
    left = _left(work, run)
    first = next(iter(run.values()))
    folder = work.folder(first.run)
    protocols = {
        plan.variant_key(work.variants[path]): result.protocol for path, result in run.items()
    }
    lock = Lock(work.session.device, work.shown.say)
    work.session.call(lambda _device: lock.take())  # of two calls, one begins
    try:
        _start(work, folder, left, protocols)
    finally:
        lock.release()
    work.shown.measuring.start(work.session.name, len(left))
    seen = 0

    def on_news(now: Outcome) -> None:
        nonlocal seen
        for path, result in run.items():
            _save(path, _updated(result, work.variants[path], now, left), files)
        done = len(now.samples) + len(now.failures)
        work.shown.measuring.advance(done - seen)
        seen = done
        work.shown.measuring.describe(_title(work, now, left))

    ended = follow(
        work.session,
        folder,
        left,
        first.protocol,
        timeout=work.settings.timeout,
        on_news=on_news,
    )
    problems = _problems(work, ended, run, files)
    if not kept.unfinished(next(iter(run)).parent, first.run):
        work.session.call(lambda d: remote_run.remove(d, folder))
    return problems


def _left(work: Work, run: dict[Path, Result]) -> tuple[Repetition, ...]:
    """The repetitions that the result files hold no sample of."""
    protocol = next(iter(run.values())).protocol
    rounds = protocol.warmups + protocol.repetitions
    held = {
        (plan.variant_key(work.variants[path]), sample.round)
        for path, result in run.items()
        for sample in result.samples
    }
    every = plan.order([work.variants[path] for path in run], rounds)
    return tuple(r for r in every if (r.group, r.round) not in held)


def _start(
    work: Work,
    folder: RunFolder,
    left: Sequence[Repetition],
    protocols: Mapping[str, Protocol],
) -> None:
    """A new attempt at the repetitions that the device has no sample of either, unless one is at
    work, or nothing is missing. `protocols`: by the repetitions' group; they differ only in how the
    model is computed."""
    session, subject = work.session, work.subject
    protocol = next(iter(protocols.values()))
    if session.call(lambda d: detached.running(d, folder.path)):
        work.shown.say(f"{session.name}: a measurement is at work already; going on with it")
        return
    require_idle(session, [folder.run])
    attempt = session.call(lambda d: remote_run.last_attempt(d, folder))
    lines = remote_run.results_tail(folder)
    session.call(lines.fetch)
    samples = outcome.read([], lines.text, left, protocol.warmups).samples
    missing = [repetition for repetition in left if repetition.id not in samples]
    if not missing:
        return
    jobs = {
        r.job_file: plan.job_text(
            r, protocols[r.group], subject.bundle, subject.filled, work.places
        )
        for r in missing
    }
    text = plan.plan_text(missing, protocol, work.settings.timeout, folder.path)
    session.call(lambda d: remote_run.write(d, folder, jobs))
    session.call(lambda d: remote_run.start(d, folder, attempt + 1, work.place, text))


def require_idle(session: Session, ours: Iterable[str]) -> None:
    """`DeviceError` while the device works on runs that are not `ours`."""
    busy = sorted(set(session.call(remote_run.at_work)) - set(ours))
    if busy:
        raise DeviceError(
            f"{session.name} is busy with another measurement ({', '.join(busy)}); wait for it, or "
            "stop it with `imp-deploy bench --clean --force`."
        )


def _save(path: Path, result: Result, files: dict[Path, Result]) -> None:
    """Only what is new: writing waits for the disk."""
    if result != files[path]:
        files[path] = result
        results.save(path, result)


def _updated(
    result: Result, variant: Variant, now: Outcome, repetitions: Sequence[Repetition]
) -> Result:
    """`result` with all that is known of its variant."""
    ids = [r.id for r in repetitions if r.variant == variant]
    new = [now.samples[i] for i in ids if i in now.samples]
    samples = tuple(sorted([*result.samples, *new], key=lambda sample: sample.round))
    protocol = result.protocol
    updated = dataclasses.replace(
        result,
        samples=samples,
        failures=tuple(now.failures[i] for i in ids if i in now.failures),
        complete=len(samples) == protocol.warmups + protocol.repetitions,
    )
    return dataclasses.replace(updated, warnings=findings.find(updated))


def _title(work: Work, now: Outcome, repetitions: Sequence[Repetition]) -> str:
    current = next((r for r in repetitions if r.id == now.current), None)
    if current is None:
        return work.session.name
    doing = "measuring" if now.resting is None else f"cooling down ({now.resting:.0f} °C)"
    variant = f"{current.variant.llm.bits}-bit@{current.variant.vision.resolution}"
    return f"{work.session.name}: {doing}, {variant}, round {current.round}"


def _problems(
    work: Work, ended: Ended, run: dict[Path, Result], files: dict[Path, Result]
) -> list[str]:
    """Sentences about what is missing, each once; how the whole job ended is put into the files
    that it left incomplete."""
    name = work.session.name
    missing = {path: files[path] for path in run if not files[path].complete}
    if not missing:
        return []
    if ended.how != "finished":
        for path, result in missing.items():
            begun = {sample.round for sample in result.samples}
            number = next(n for n in range(len(begun) + 1) if n not in begun)
            failure = Failure(round=number, kind=ended.how, message=ended.message)
            _save(path, dataclasses.replace(result, failures=(*result.failures, failure)), files)
    failures = [f for path in missing for f in files[path].failures if f.kind != "skipped"]
    messages = list(dict.fromkeys(failure.message for failure in failures))
    count = sum(len(files[path].samples) for path in run)
    end = f"{count} finished samples are kept; run the same command again to go on."
    return [f"{name}: {message}" for message in messages[:-1]] + [
        f"{name}: {messages[-1] if messages else 'Not everything was measured.'} {end}"
    ]
