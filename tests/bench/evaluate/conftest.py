"""Evaluating the demo checkpoint, here and on the virtual phone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imp_deploy import bundle as bundles
from imp_deploy.bench.discover import connected
from imp_deploy.bench.evaluate.evaluate import Asking, Shown, evaluate
from imp_deploy.bench.evaluate.selection import Selection, select
from imp_deploy.bench.session import Session
from imp_deploy.bench.tasks import demo
from imp_deploy.evaluation import Answered, Evaluation, answers_path
from imp_deploy.progress import Unseen
from tests.bench.evaluate.read import read_answers


@dataclass
class Evaluator:
    """Evaluates as `eval` does, with one thread, and keeps what it said. `on_answers` is called
    with the number of answers that came."""

    bundle: Path
    out: Path
    name: str = "host"
    said: list[str] = field(default_factory=list)
    on_answers: Callable[[int], None] = lambda _count: None

    def __call__(
        self,
        selection: Selection,
        *,
        bits: int = 4,
        force: bool = False,
        max_tokens: int | None = None,
    ) -> Evaluation:
        loaded = bundles.load(self.bundle)
        asking = Asking(
            folder=self.bundle,
            bundle=loaded,
            selection=selection,
            threads=1,
            max_tokens=max_tokens,
        )
        me = self

        class Watched(Unseen):
            def advance(self, count: int) -> None:
                me.on_answers(count)

        shown = Shown(pushing=Unseen(), answering=Watched())
        variant = bundles.choose(loaded, bits=bits)
        with connected(self.name) as device:
            session = Session(device, self.said.append)
            self.path, done = evaluate(
                session, asking, variant, out=self.out, force=force, shown=shown
            )
        return done

    def answers(self) -> dict[str, Answered]:
        return read_answers(answers_path(self.path))


@pytest.fixture
def here(demo_bundle: Path, tmp_path: Path) -> Evaluator:
    return Evaluator(bundle=demo_bundle, out=tmp_path / "out")


@pytest.fixture(scope="session")
def few() -> Selection:
    return select(demo.TASK, None, limit=12)
