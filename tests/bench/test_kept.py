"""Results that are there are not measured again, and never overwritten by another measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imp_deploy import results
from imp_deploy.bench import kept
from imp_deploy.errors import BadInput
from imp_deploy.results import Result
from tests.bench.report import made

OLD = made.result()
FRESH = replace(
    OLD,
    run="",
    started="",
    samples=(),
    complete=False,
    runner=replace(OLD.runner, system_info=""),
)


def saved(folder: Path, result: Result) -> Path:
    path = kept.result_path(folder, result)
    results.save(path, result)
    return path


def test_a_complete_result_is_recognised(tmp_path: Path) -> None:
    saved(tmp_path, OLD)
    assert kept.sort_out(tmp_path, [FRESH], force=False) == (OLD,)


def test_an_unfinished_one_is_gone_on_with(tmp_path: Path) -> None:
    unfinished = replace(OLD, samples=OLD.samples[:2], complete=False)
    saved(tmp_path, unfinished)
    assert kept.sort_out(tmp_path, [FRESH], force=False) == (unfinished,)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(OLD, protocol=replace(OLD.protocol, threads=4)), "protocol.threads was 4 now 6"),
        (replace(OLD, runner=replace(OLD.runner, sha256="00" * 32)), "runner.sha256"),
        (replace(OLD, device=replace(OLD.device, fingerprint="x/y")), "device.fingerprint"),
        (replace(OLD, bundle=replace(OLD.bundle, weights_sha256="11" * 32)), "weights_sha256"),
    ],
)
def test_another_measurement_is_not_overwritten(tmp_path: Path, other: Result, named: str) -> None:
    path = saved(tmp_path, other)
    content = path.read_bytes()
    with pytest.raises(BadInput, match=named.replace(".", r"\.")) as caught:
        kept.sort_out(tmp_path, [FRESH], force=False)
    assert "--force" in str(caught.value)
    assert path.read_bytes() == content


def test_another_way_to_the_same_phone_goes_on(tmp_path: Path) -> None:
    """Android Studio's server takes a phone over, and a core was switched off."""
    unfinished = replace(OLD, samples=OLD.samples[:2], complete=False)
    saved(tmp_path, unfinished)
    asleep = (*OLD.device.cores[:-1], replace(OLD.device.cores[-1], max_khz=0))
    again = replace(FRESH, device=replace(OLD.device, kind="usb", cores=asleep))
    assert kept.sort_out(tmp_path, [again], force=False) == (unfinished,)


def test_force_measures_anew(tmp_path: Path) -> None:
    saved(tmp_path, OLD)
    assert kept.sort_out(tmp_path, [FRESH], force=True) == (FRESH,)


def test_each_variant_and_device_has_its_own_file(tmp_path: Path) -> None:
    variants = [made.result(bits, side) for bits in (16, 8, 4) for side in (384, 196)]
    tower = replace(OLD, variant=replace(OLD.variant, vision_bits=8))
    phone = replace(OLD, device=replace(OLD.device, serial="192.168.0.7:5555"))
    paths = [kept.result_path(tmp_path, result) for result in (*variants, tower, phone)]
    assert len(set(paths)) == 8
    assert paths[-1].name == "Imp-v1.5-3B-4bit-196-192.168.0.7_5555.json"


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    assert results.load(saved(tmp_path, OLD)) == OLD


def test_a_result_of_another_schema_is_bad_input(tmp_path: Path) -> None:
    path = saved(tmp_path, OLD)
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2', 1))
    with pytest.raises(BadInput, match="schema 2"):
        results.load(path)


def test_which_runs_still_wait_for_samples(tmp_path: Path) -> None:
    saved(tmp_path, replace(OLD, complete=False, run="one"))
    saved(tmp_path, replace(made.result(bits=8), run="two"))
    (tmp_path / "notes.json").write_text("[]")
    assert kept.unfinished(tmp_path, "one")
    assert not kept.unfinished(tmp_path, "two")
