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

How = Literal["finished", "stopped", "rebooted", "disk_full", "stuck"]


@dataclass(frozen=True)
class Ended:
    """`how` "stopped": the job is gone without having come to its end; "rebooted": so is all else;
    "disk_full": it could write no more; "stuck": it wrote nothing for longer than it may, and was
    killed."""

    how: How
    outcome: Outcome


def follow(
    session: Session,
    folder: RunFolder,
    repetitions: Sequence[Repetition],
    protocol: Protocol,
    *,
    timeout: float,
    on_news: Callable[[Outcome], None],
) -> Ended:
    """`timeout`: seconds that one repetition may take. `on_news` is called with all that is known
    whenever there is more. Everything is read from the device's files, so that it does not matter
    who started the run, or how often the link breaks."""
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
        if now.finished:
            return Ended("finished", now)
        if not alive:
            return Ended(session.call(lambda d: _why_gone(d, folder)), now)
        if time.monotonic() - heard > patience:
            session.call(lambda d: detached.kill(d, folder.path))
            return Ended("stuck", now)
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


def _why_gone(device: Device, folder: RunFolder) -> How:
    if remote_run.restarted_since(device, folder):
        return "rebooted"
    return "disk_full" if free_bytes(device) < _LITTLE_BYTES else "stopped"
