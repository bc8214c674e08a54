"""Runs candidates on the device by turns: as `bench` measures variants, under the runner's own
supervisor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.bench import detached, plan, remote_run
from imp_deploy.bench.carry_out import require_idle
from imp_deploy.bench.follow import follow
from imp_deploy.bench.outcome import Outcome
from imp_deploy.bench.plan import Repetition
from imp_deploy.bench.programs import Program
from imp_deploy.bench.remote_run import RunFolder
from imp_deploy.bench.session import Session
from imp_deploy.bench.store_lock import Lock
from imp_deploy.bench.subject import Subject
from imp_deploy.bench.tune.choice import Choice
from imp_deploy.bundle import Variant
from imp_deploy.errors import DeviceError
from imp_deploy.results import Protocol, Sample


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where candidates are run. `subject`: with one variant; `protocol`: what they have in common;
    `places`: of the files on the device, by SHA-256; `run`: a name that is the same for the same
    search; `timeout`: seconds that one repetition may take."""

    session: Session
    subject: Subject
    program: Program
    protocol: Protocol
    places: Mapping[str, str]
    run: str
    timeout: float

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.session.device.root, self.run)

    @property
    def variant(self) -> Variant:
        (variant,) = self.subject.variants
        return variant


@dataclass(frozen=True)
class Came:
    """Of one candidate: a sample per round, and its logits [tokens, vocabulary] of the only round,
    where they were asked for; or why there is none, as a sentence without its end."""

    samples: tuple[Sample, ...] = ()
    logits: Path | None = None
    problem: str = ""


def run(
    place: Place,
    candidates: Mapping[str, Choice],
    rounds: int,
    advance: Callable[[int], None],
    *,
    scratch: Path | None = None,
) -> dict[str, Came]:
    """All `candidates` in every round, another one first in each. `scratch`: a folder for their
    logits; None: not asked for. What fails is a `problem` of its candidate; a job that does not
    come to its end is a `DeviceError`, and is stopped whatever happens."""
    labels = list(candidates)
    repetitions = tuple(
        Repetition(round=number, variant=place.variant, label=str((number + turn) % len(labels)))
        for number in range(rounds)
        for turn in range(len(labels))
    )
    try:
        _start(place, repetitions, [candidates[label] for label in labels], scratch is not None)
        now = _follow(place, repetitions, advance)
        return {
            label: _came(place, now, [r for r in repetitions if r.label == str(n)], scratch)
            for n, label in enumerate(labels)
        }
    finally:
        with contextlib.suppress(DeviceError):  # a lost link has said so already
            place.session.call(lambda d: detached.kill(d, place.folder.path))
            place.session.call(lambda d: remote_run.remove(d, place.folder))


def _start(
    place: Place, repetitions: Sequence[Repetition], choices: Sequence[Choice], logits: bool
) -> None:
    session, subject, folder = place.session, place.subject, place.folder
    jobs = {
        r.job_file: plan.job_text(
            r,
            choices[int(r.label)].applied(place.protocol),
            subject.bundle,
            subject.filled,
            place.places,
            logits=_logits(folder, r) if logits else None,
        )
        for r in repetitions
    }
    text = plan.plan_text(repetitions, place.protocol, place.timeout, folder.path)
    lock = Lock(session.device, session.say)
    session.call(lambda _device: lock.take())  # of two calls, one begins
    try:
        # What an earlier call of the same search has left at work is of no use to this one.
        session.call(lambda d: detached.kill(d, folder.path))
        session.call(lambda d: remote_run.remove(d, folder))
        require_idle(session, [])
        session.call(lambda d: remote_run.write(d, folder, jobs))
        runner = place.places[place.program.sha256]
        session.call(lambda d: remote_run.start(d, folder, 1, runner, text))
    finally:
        lock.release()


def _follow(
    place: Place, repetitions: Sequence[Repetition], advance: Callable[[int], None]
) -> Outcome:
    latest = Outcome()

    def on_news(now: Outcome) -> None:
        nonlocal latest
        done = (len(each.samples) + len(each.failures) for each in (now, latest))
        advance(next(done) - next(done))
        latest = now

    ended = follow(
        place.session,
        place.folder,
        repetitions,
        place.protocol,
        timeout=place.timeout,
        on_news=on_news,
    )
    if ended.how != "finished":
        raise DeviceError(
            f"{place.session.name}: {ended.message} What was found until then is kept; run the "
            "same command again to go on."
        )
    return latest


def _came(
    place: Place, now: Outcome, repetitions: Sequence[Repetition], scratch: Path | None
) -> Came:
    failures = [now.failures[r.id] for r in repetitions if r.id in now.failures]
    if failures:
        # Its cure is for whoever measures; here there is a next candidate.
        return Came(problem=failures[0].message.rpartition(";")[0] or failures[0].message)
    logits = None
    if scratch is not None:
        (only,) = repetitions
        logits = scratch / only.label
        place.session.call(lambda d: d.pull(_logits(place.folder, only), logits))
    return Came(tuple(now.samples[r.id] for r in repetitions), logits)


def _logits(folder: RunFolder, repetition: Repetition) -> str:
    return folder.file(f"{repetition.id}.logits")
