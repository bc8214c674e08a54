"""What only a real phone can show. Off unless IMP_TEST_DEVICE names one, as `--device` takes it:

IMP_TEST_DEVICE=adb:SERIAL .venv/bin/python -m pytest tests/device
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imp_deploy import ask as on_host
from imp_deploy import bundle as bundles
from imp_deploy.bench import describe, disk, remote_ask
from imp_deploy.bench.carry_out import Shown
from imp_deploy.bench.discover import connected
from imp_deploy.bench.measure import measure
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings
from imp_deploy.bench.subject import prepare
from imp_deploy.progress import Unseen

PHONE = os.environ.get("IMP_TEST_DEVICE", "")
QUESTION = "What colour is the circle?"

pytestmark = pytest.mark.skipif(not PHONE, reason="IMP_TEST_DEVICE names no phone")


def test_the_phone_tells_what_a_measurement_needs() -> None:
    with connected(PHONE, note=print) as device:
        record, conditions = describe.describe(device), describe.conditions(device)
        assert not record.emulated
        assert record.soc
        assert all(core.max_khz for core in record.cores)
        assert 0 < len(describe.big_cores(record)) < len(record.cores)
        assert conditions.battery_percent is not None
        assert disk.free_bytes(device) > 0
        assert describe.boot_id(device)


def test_the_same_greedy_tokens_as_on_the_host(demo_bundle: Path, demo_checkpoint: Path) -> None:
    picture = demo_checkpoint / "images" / "scene-1.png"
    settings = Settings(bits=(16,), resolutions=(196,), image=picture, prompt=QUESTION)
    with connected(PHONE, note=print) as device:
        there, _ = remote_ask.ask(
            Session(device, print),
            prepare(demo_bundle, settings),
            settings,
            max_tokens=8,
            progress=Unseen(),
        )
    bundle = bundles.load(demo_bundle)
    here = on_host.ask(
        demo_bundle,
        bundle,
        bundles.choose(bundle, bits=16, resolution=196),
        image=picture,
        question=QUESTION,
        max_tokens=8,
        threads=0,
    )
    assert there.token_ids == here.token_ids


def test_all_variants_are_measured_and_the_second_call_pushes_nothing(
    demo_bundle: Path, tmp_path: Path
) -> None:
    settings = Settings()
    subject = prepare(demo_bundle, settings)
    shown = Shown(pushing=Unseen(), measuring=Unseen(), say=print)
    with connected(PHONE, note=print) as device:
        session = Session(device, print)
        measured = measure(session, subject, settings, out=tmp_path, force=False, shown=shown)
        assert measured.problems == ()
        for result in measured.files.values():
            assert result.complete
            codes = {warning.code for warning in result.warnings}
            assert not codes & {"cpu_mask_refused", "no_repacked_kernels", "fewer_threads"}
            assert 1e9 < result.bandwidth_bytes_per_second < 2e11
        again = measure(session, subject, settings, out=tmp_path, force=True, shown=shown)
        assert again.pushed_bytes == 0
