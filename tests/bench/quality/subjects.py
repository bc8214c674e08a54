"""Small bundles and folders of pictures to compare, and ways to look at the work."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imp_deploy import process
from imp_deploy.bench.evaluate.selection import Selection, select
from imp_deploy.bench.quality.measure import Measured, Settings, measure
from imp_deploy.bench.quality.pairs import pairs
from imp_deploy.bench.tasks import demo, folder
from imp_deploy.errors import Interrupted

SETTINGS = Settings(threads=1, max_tokens=6)


class Counted:
    """Progress that counts the questions of each phase, and is interrupted after `stop` of them."""

    def __init__(self, stop: tuple[str, int] | None = None, each: Callable[[], None] | None = None):
        self.phases: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self._stop = stop
        self._each = each
        self._phase = ""

    def start(self, phase: str, total: int) -> None:
        self._phase = phase
        self.phases[phase] = self.phases.get(phase, 0) + total

    def advance(self, count: int) -> None:
        self.done[self._phase] = self.done.get(self._phase, 0) + count
        if self._each is not None:
            self._each()
        if self._stop is not None and self.done.get(self._stop[0], 0) >= self._stop[1]:
            raise Interrupted


def pictures(place: Path, count: int = 3) -> Path:
    """A folder of noise, each picture with the same two prompts."""
    place.mkdir()
    rng = np.random.default_rng(1)
    for index in range(count):
        noise = rng.integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(noise).save(place / f"{index}.png")
    (place / "prompts.txt").write_text("What is this?\nHow many are there?\n")
    return place


def own(place: Path, limit: int | None = None) -> Selection:
    return select(folder.TASK, place, limit=limit)


def scenes(limit: int) -> Selection:
    return select(demo.TASK, None, limit=limit)


def compare(
    bundle: Path,
    selection: Selection,
    out: Path,
    *,
    settings: Settings = SETTINGS,
    progress: Counted | None = None,
    force: bool = False,
    **wanted: object,
) -> tuple[Measured, ...]:
    shown = progress or Counted()
    found = pairs(bundle, **wanted)  # type: ignore[arg-type]
    return measure(selection, found, settings, out=out, force=force, shown=lambda: shown)


@dataclass
class Started:
    """The runners that were started, in order, and the models that they were started on."""

    models: list[str] = field(default_factory=list)
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)


@contextmanager
def starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """Sees the starts of runners, which do run."""
    seen = Started()
    real = process.start

    def start(argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
        lines = Path(argv[1]).read_text("utf-8").splitlines()
        model = next(line for line in lines if line.startswith("model "))
        seen.models.append(Path(model.removeprefix("model ")).name)
        seen.programs.append(real(argv, **options))
        return seen.programs[-1]

    with monkeypatch.context() as patch:
        patch.setattr(process, "start", start)
        yield seen
