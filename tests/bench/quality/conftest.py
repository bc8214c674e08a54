"""A bundle that is quick to run, with answers that never end by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.quality.subjects import pictures
from tests.small import SIDE, run_export, small_checkpoint


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16, 8 and 4 bits at 56 pixels; random weights."""
    place = tmp_path_factory.mktemp("quality")
    checkpoint = small_checkpoint(place / "checkpoint")
    run_export(checkpoint, place / "bundle", bits=(16, 8, 4), resolutions=(SIDE,))
    return place / "bundle"


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures with two prompts each."""
    return pictures(tmp_path_factory.mktemp("pictures") / "noise")
