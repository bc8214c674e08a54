"""Measures on several devices at the same time, each on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.bench.discover import connected
from imp_deploy.bench.measure import Measured, Shown, measure
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings
from imp_deploy.bench.subject import Subject
from imp_deploy.errors import DeviceError


@dataclass(frozen=True)
class Failed:
    """A device that could not be measured on, and why."""

    device: str
    error: DeviceError


def measure_all(
    names: Sequence[str],
    subject: Subject,
    settings: Settings,
    *,
    out: Path,
    force: bool,
    shown: Callable[[], Shown],
) -> tuple[Measured | Failed, ...]:
    """In the order of `names`; `shown` makes a place for the progress of each. What is wrong with
    one device does not stop the others; bad input stops all."""

    def one(name: str) -> Measured | Failed:
        try:
            shows = shown()
            with connected(name, note=shows.say) as device:
                session = Session(device, shows.say)
                return measure(session, subject, settings, out=out, force=force, shown=shows)
        except DeviceError as error:
            return Failed(name, error)

    with ThreadPoolExecutor(len(names)) as threads:
        return tuple(threads.map(one, names))
