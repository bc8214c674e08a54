"""A small bundle, pictures to ask it about, and the library call behind `calibrate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from imp_deploy import bundle as bundles
from imp_deploy.bench.calibrate.calibrate import Calibrated, Settings, calibrate, plan
from imp_deploy.progress import Unseen
from tests.pictures import noise
from tests.small import SIDE, run_export, small_checkpoint


@dataclass(frozen=True)
class Small:
    """`images`: three pictures of noise."""

    bundle: Path
    images: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """At 16 and 4 bits and 56 pixels, with random weights: its answers never end by themselves."""
    place = tmp_path_factory.mktemp("calibrate")
    run_export(
        small_checkpoint(place / "checkpoint"),
        place / "bundle",
        bits=(16, 4),
        resolutions=(SIDE,),
    )
    images = place / "my pictures"
    images.mkdir()
    for number in range(3):
        noise(90, 60, seed=number).save(images / f"{number}.png")
    return Small(place / "bundle", images)


def collect(
    bundle: Path,
    images: Path,
    out: Path,
    *,
    prompts: Path | None = None,
    limit: int | None = None,
    tokens: int = 4,
    force: bool = False,
) -> Calibrated:
    settings = Settings(images=images, prompts=prompts, limit=limit, max_tokens=tokens, threads=1)
    made = plan(bundle, bundles.load(bundle), settings, Unseen())
    return calibrate(made, out, force=force, shown=Unseen())
