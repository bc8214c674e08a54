"""Answers questions on a device: it works through the whole job by itself, waiting only for
pictures, which are brought while it computes. What was answered stays there until it is fetched,
whatever becomes of the link, this program or the phone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imp_deploy import runner
from imp_deploy.bench import detached, follow, outcome, remote_run
from imp_deploy.bench.carry_out import require_idle
from imp_deploy.bench.evaluate.job import Subject, job_for
from imp_deploy.bench.evaluate.pictures import Asked
from imp_deploy.bench.evaluate.remote_pictures import Bringing
from imp_deploy.bench.evaluate.taken import OnAnswers, Taken, Unanswerable
from imp_deploy.bench.plan import RESULTS
from imp_deploy.bench.programs import Program
from imp_deploy.bench.remote_run import RunFolder
from imp_deploy.bench.session import Session
from imp_deploy.bench.store import Wanted, deploy
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.progress import Progress

_POLL_SECONDS = 2.0
_SILENCE_SECONDS = 1800.0  # the slowest phone of the paper takes two minutes for a question
_LIMIT_SECONDS = 999_999.0  # of one attempt; the longest that the runner's plans take
_JOB = "job-eval.txt"


@dataclass(frozen=True)
class Place:
    """Where an evaluation lives on the device. `run`: a name that is the same for the same
    questions to the same files, so that the next call finds what this one left."""

    session: Session
    folder: Path
    program: Program
    run: str

    @property
    def remote(self) -> RunFolder:
        return RunFolder(self.session.device.root, self.run)


def ask(
    place: Place,
    subject: Subject,
    every: Sequence[Asked],
    missing: Sequence[Asked],
    on_answers: OnAnswers,
    on_safe: Callable[[], None],
    pushing: Progress,
    *,
    anew: bool,
) -> None:
    """Answers all of `missing`; `every` has those too that were answered before, because pictures
    go over in the same archives each time. `on_safe` brings the answers to this machine's disk,
    before the device forgets them. `anew`: what the device has answered before does not count.
    Errors as those of `on_host.ask`; but for `Unanswerable` the device goes on by itself if it can,
    and the same call collects."""
    session, remote = place.session, place.remote
    require_idle(session, [place.run])
    if anew:
        _forget(place)
    where = _deploy(place, subject, pushing)
    taken = Taken(missing, on_answers)
    lines = remote_run.results_tail(remote)
    bringing = Bringing(session, remote.path, every, missing)
    try:
        while True:
            alive = session.call(lambda d: detached.running(d, remote.path))
            # Where an attempt is at work, its own errors come again in the next one.
            taken.take(session.call(lines.fetch).encode(), old=True)
            if len(taken.seen) == len(missing):
                break
            before = len(taken.seen)
            if not alive:
                _start(place, subject, missing, where)
            _follow(place, taken, lines, bringing, len(missing))
            if len(taken.seen) == before:
                raise DeviceError(f"{session.name}: {_why(place)} Run the same command again.")
    except Unanswerable:
        # The next call shall not find the same error in the lines of this one.
        _forget(place)
        raise
    on_safe()
    session.call(lambda d: remote_run.remove(d, remote))


def _forget(place: Place) -> None:
    place.session.call(lambda d: detached.kill(d, place.remote.path))
    place.session.call(lambda d: remote_run.remove(d, place.remote))


def _deploy(place: Place, subject: Subject, pushing: Progress) -> dict[str, str]:
    """Where on the device the bundle's files and the runner are, by SHA-256."""
    program = place.program
    files = (subject.variant.llm, subject.variant.vision)
    wanted = [Wanted(place.folder / f.path, f.sha256, f.bytes) for f in files]
    wanted.append(
        Wanted(program.path, program.sha256, program.path.stat().st_size, executable=True)
    )
    return deploy(place.session.device, wanted, pushing, note=place.session.say).paths


def _start(place: Place, subject: Subject, missing: Sequence[Asked], where: dict[str, str]) -> None:
    """A new attempt at `missing`, under the supervisor of the runner."""
    session, remote = place.session, place.remote
    job = job_for(
        subject,
        missing,
        model=PurePosixPath(where[subject.variant.llm.sha256]),
        mmproj=PurePosixPath(where[subject.variant.vision.sha256]),
        picture=lambda number: PurePosixPath(remote.file(f"pictures/{number}")),
    )
    plan = "\n".join(
        [
            "imp-plan 1",
            f"timeout {_LIMIT_SECONDS:.1f}",
            "run",
            "id eval",
            "group eval",
            f"job {remote.file(_JOB)}",
            f"out {remote.file(RESULTS)}",
        ]
    )
    attempt = session.call(lambda d: remote_run.last_attempt(d, remote)) + 1
    session.call(lambda d: remote_run.write(d, remote, {_JOB: runner.job_text(job)}))
    session.call(
        lambda d: remote_run.start(d, remote, attempt, where[place.program.sha256], f"{plan}\n")
    )


def _follow(
    place: Place, taken: Taken, lines: remote_run.Tail, bringing: Bringing, count: int
) -> None:
    """Brings pictures and takes answers until all are there or the job is gone."""
    session, remote = place.session, place.remote
    heard, seen = time.monotonic(), len(taken.seen)
    while True:
        alive = session.call(lambda d: detached.running(d, remote.path))
        taken.take(session.call(lines.fetch).encode())
        if len(taken.seen) == count or not alive:
            return
        try:
            more = bringing.bring()
        except BadInput:  # nobody will bring that picture: no use in waiting for it there
            session.call(lambda d: detached.kill(d, remote.path))
            raise
        if more or len(taken.seen) > seen:
            heard, seen = time.monotonic(), len(taken.seen)
        if time.monotonic() - heard > _SILENCE_SECONDS:
            session.call(lambda d: detached.kill(d, remote.path))
            raise DeviceError(
                f"{session.name}: no answer came for {_SILENCE_SECONDS:.0f} s, and the job was "
                "killed; look at what else the device does, and run the same command again."
            )
        if not more:
            time.sleep(_POLL_SECONDS)


def _why(place: Place) -> str:
    """A sentence about an attempt that ended without an answer."""
    session, remote = place.session, place.remote
    log = remote_run.log_tail(remote, session.call(lambda d: remote_run.last_attempt(d, remote)))
    ended = [
        line
        for line in outcome.lines_of(session.call(log.fetch))
        if line["status"] == "ended" and line["exit"] != 0
    ]
    if ended:
        return outcome.reason(ended[-1])[1]
    return session.call(lambda d: follow.why_gone(d, remote)).message
