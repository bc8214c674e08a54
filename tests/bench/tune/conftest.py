"""A tiny bundle on this machine, and a cache of one's own for what is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imp_deploy.bench import follow
from imp_deploy.bench.carry_out import Shown
from imp_deploy.bench.discover import connected
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings
from imp_deploy.bench.subject import Subject, prepare
from imp_deploy.bench.tune import choice, search
from imp_deploy.bench.tune.search import Found
from imp_deploy.progress import Unseen
from tests.small import SIDE, run_export, small_checkpoint

SETTINGS = Settings(
    bits=(4,), resolutions=(SIDE,), vision_bits=16, generated_tokens=3, warmups=0, repetitions=1
)
Tune = Callable[..., Found]


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 bits at 56 pixels; random weights."""
    folder = tmp_path_factory.mktemp("tuning")
    checkpoint = small_checkpoint(folder / "checkpoint")
    run_export(checkpoint, folder / "bundle", bits=(4,), resolutions=(SIDE,), vision_bits=16)
    return folder / "bundle"


@pytest.fixture
def subject(small_bundle: Path) -> Subject:
    return prepare(small_bundle, SETTINGS)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(choice, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.05)
    return tmp_path / "cache"


@pytest.fixture
def tune(subject: Subject) -> Tune:
    """`tune` on this machine; what it says goes to nobody."""

    def call(settings: Settings = SETTINGS, *, force: bool = False) -> Found:
        shown = Shown(pushing=Unseen(), measuring=Unseen(), say=lambda _text: None)
        with connected("host") as device:
            session = Session(device, shown.say)
            return search.tune(session, subject, settings, force=force, shown=shown)

    return call
