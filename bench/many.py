"""Measures on several devices at the same time, each on its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.bench.carry_out import Shown
from imp_deploy.bench.discover import connected
from imp_deploy.bench.measure import Measured, measure
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings
from imp_deploy.bench.subject import Subject
from imp_deploy.errors import ImpError


@dataclass(frozen=True)
class Failed:
    """A device that could not be measured on, and why."""

    device: str
    error: ImpError


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
    one device does not stop the others."""
    reached: dict[str, Measured | Failed] = {}
    bugs: list[Exception] = []

    def one(name: str) -> None:
        shows = shown()
        try:
            with connected(name, note=shows.say) as device:
                session = Session(device, shows.say)
                reached[name] = measure(
                    session, subject, settings, out=out, force=force, shown=shows
                )
        except ImpError as error:
            reached[name] = Failed(name, error)
        except Exception as error:
            bugs.append(error)

    if len(names) == 1:
        one(names[0])
    else:
        # Daemons: Ctrl+C ends the program at once. The phones go on, and the next call collects.
        threads = [threading.Thread(target=one, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if bugs:  # nobody would hear of them in a thread
        raise bugs[0]
    return tuple(reached[name] for name in names)
