"""What the tests of the native runner share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.native.jobs import Runner
from tests.native.plans import Supervisor


@pytest.fixture
def runner(runner_binary: Path, demo_bundle: Path, tmp_path: Path) -> Runner:
    """The built program on the demo bundle, in a folder of its own."""
    return Runner(binary=runner_binary, bundle=demo_bundle, folder=tmp_path)


@pytest.fixture
def supervisor(runner: Runner) -> Supervisor:
    """The same program, carrying out plans there."""
    return Supervisor(runner=runner)
