"""Watches a run on the device until it ends, and hands over every sample as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from imp_deploy.bench import detached, outcome, remote_run
from imp_deploy.bench.device import Device
from imp_deploy.bench.disk import free_bytes
from imp_deploy.bench.outcome import Outcome
from imp_deploy.bench.plan import Repetition
from imp_deploy.bench.remote_run import RunFolder
from imp_deploy.bench.session import Session
from imp_deploy.results import Protocol

_POLL_SECONDS = 2.0
_SILENCE_SECONDS = 120.0
_LITTLE_BYTES = 1 << 20

How = Literal["finished", "stopped", "rebooted", "disk_full", "failed", "stuck"]


@dataclass(frozen=True)
class Ended:
    """`how` "stopped": the job is gone without having come to its end; "rebooted": so is all else;
    "disk_full": it could write no more; "failed": it gave up by itself; "stuck": it wrote nothing
    for longer than it may, and was killed. `message`: a sentence about it."""

    how: How
    message: str = ""


def follow(
    session: Session,
    folder: RunFolder,
    repetitions: Sequence[Repetition],
    protocol: Protocol,
    *,
    timeout: float,
    on_news: Callable[[Outcome], None],
) -> Ended:
    """Until all `repetitions` have a sample, or the job ends. `timeout`: seconds that one of them
    may take. `on_news` is called with all that is known whenever there is more. Everything is read
    from the device's files, so that it does not matter who started the run, or how often the link
    breaks."""
    attempt = session.call(lambda d: remote_run.last_attempt(d, folder))
    logs = [remote_run.log_tail(folder, n) for n in range(1, attempt + 1)]
    lines = remote_run.results_tail(folder)
    patience = timeout + protocol.cooldown_seconds + _SILENCE_SECONDS
    heard = time.monotonic()
    known = ""
    for log in logs[:-1]:
        session.call(log.fetch)
    while True:
        alive = session.call(lambda d: _look(d, folder, lines, logs))
        now = outcome.read([log.text for log in logs], lines.text, repetitions, protocol.warmups)
        if (text := lines.text + logs[-1].text) != known:
            known, heard = text, time.monotonic()
            on_news(now)
        if now.finished or len(now.samples) == len(repetitions):
            return Ended("finished")
        if not alive:
            return session.call(lambda d: why_gone(d, folder))
        if time.monotonic() - heard > patience:
            session.call(lambda d: detached.kill(d, folder.path))
            return Ended("stuck", f"The job reported nothing for {patience:.0f} s and was killed.")
        time.sleep(_POLL_SECONDS)


def _look(
    device: Device, folder: RunFolder, lines: remote_run.Tail, logs: Sequence[remote_run.Tail]
) -> bool:
    """Fetches what is new, and says whether the job was at work before that."""
    alive = detached.running(device, folder.path)
    # The log first: when it says that all is finished, the results are all there.
    logs[-1].fetch(device)
    lines.fetch(device)
    return alive


def why_gone(device: Device, folder: RunFolder) -> Ended:
    """Of a job that is gone without having come to its end."""
    if remote_run.restarted_since(device, folder):
        reason = remote_run.restart_reason(device)
        return Ended("rebooted", f"The phone restarted during the measurement ({reason}).")
    if free_bytes(device) < _LITTLE_BYTES:
        return Ended("disk_full", outcome.disk_full("no space is left"))
    status = detached.status(device, folder.path)
    if status:
        said = remote_run.last_words(device, folder)
        return Ended("failed", f"The job ended on the device with status {status}: {said}")
    return Ended("stopped", "The job was killed on the device.")
