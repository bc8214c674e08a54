"""Measuring on the virtual phone: what comes out, and that nothing is done twice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from imp_deploy import results
from imp_deploy.bench import programs
from imp_deploy.bench.carry_out import Shown
from imp_deploy.bench.discover import connected
from imp_deploy.bench.many import Failed, measure_all
from imp_deploy.bench.measure import Measured
from imp_deploy.bench.store_clean import clean
from imp_deploy.bench.subject import prepare
from imp_deploy.bench.virtual import settings as virtual
from imp_deploy.bench.virtual.power import Running, powered
from imp_deploy.build.target import I8MM
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.progress import Unseen
from tests.bench.measuring.conftest import ONE_VARIANT, SETTINGS, Bench, only
from tests.small import SIDE


def test_all_variants_are_measured_with_all_that_a_reader_needs(bench: Bench) -> None:
    measured = bench(replace(SETTINGS, warmups=1, repetitions=2))
    assert measured.problems == ()
    assert [r.variant.bits for r in measured.files.values()] == [8, 4]
    for path, result in measured.files.items():
        assert results.load(path) == result
        assert result.complete
        assert [(s.round, s.warmup) for s in result.samples] == [(0, True), (1, False), (2, False)]
        assert result.device.soc == "SM8650"
        assert result.device.emulated
        assert (result.protocol.threads, result.protocol.cpu_mask) == (1, "fc")
        assert result.runner.target == "android-i8mm"
        assert "MATMUL_INT8 = 1" in result.runner.system_info
        assert 1e6 < result.bandwidth_bytes_per_second < 2e12  # not a copy that was optimised away
        assert result.conditions.battery_percent == 80
        assert "emulated" in [warning.code for warning in result.warnings]
        for sample in result.samples:
            assert (sample.tokens.text, sample.tokens.generated) == (41, 3)
            assert sample.tokens.visual == result.variant.visual_tokens
            seconds = sample.seconds
            assert seconds.vision + seconds.prompt + seconds.generate <= seconds.total
            assert len(sample.before.clocks_khz) == 8
            assert sample.before.celsius
            assert sample.peak_rss_bytes > 0
            assert sample.repacked_bytes > 0
            assert 0 < sample.decode_bytes < result.bundle.files[0].bytes


def test_the_rounds_are_interleaved_and_begin_with_another_variant(bench: Bench) -> None:
    measured = bench(replace(SETTINGS, repetitions=2))
    eight, four = measured.files.values()
    began = sorted(
        (s.before.uptime_seconds, r.variant.bits, s.round) for r in (eight, four) for s in r.samples
    )
    assert [(bits, number) for _, bits, number in began] == [(8, 0), (4, 0), (4, 1), (8, 1)]


def test_the_same_again_is_recognised_and_force_measures_but_pushes_nothing(bench: Bench) -> None:
    first = bench()
    assert first.pushed_bytes > 5_000_000
    again = bench()
    assert (again.kept, again.pushed_bytes) == (tuple(first.files), 0)
    assert again.files == first.files
    forced = bench(force=True)
    assert (forced.kept, forced.pushed_bytes) == ((), 0)
    assert only(forced).run != only(first).run


def test_every_sample_is_on_disk_as_soon_as_it_is_known(bench: Bench) -> None:
    seen: list[int] = []

    def look(_count: int) -> None:
        (path,) = bench.out.glob("*.json")
        seen.append(len(results.load(path).samples))

    bench.on_step = look
    bench()
    assert max(seen) == ONE_VARIANT.repetitions
    assert seen == sorted(seen)


def test_nothing_of_a_finished_run_stays_but_the_files(bench: Bench) -> None:
    bench()
    with connected(bench.name) as device:
        assert device.shell(f"ls {device.root}/runs").text.split() == []
        assert clean(device) > 5_000_000
        assert device.stat(device.root) is None


def test_a_bundle_that_was_changed_after_its_export_is_refused(
    small_bundle: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(small_bundle, copy)
    llm = next(copy.glob("Imp-Q4_0.gguf"))
    content = bytearray(llm.read_bytes())
    content[-1] ^= 1
    llm.write_bytes(content)
    with pytest.raises(BadInput, match="changed after it was exported"):
        prepare(copy, ONE_VARIANT)


def test_a_variant_that_the_bundle_lacks_is_refused(small_bundle: Path) -> None:
    with pytest.raises(BadInput, match=r"only \[4, 8\]"):
        prepare(small_bundle, replace(ONE_VARIANT, bits=(16,)))


def test_a_phone_of_another_architecture_is_refused(bench: Bench, phone: Running) -> None:
    phone.inject("abi=x86_64")
    with pytest.raises(DeviceError, match="x86_64"):
        bench()


def test_an_older_phone_gets_the_runner_without_i8mm(small_bundle: Path, tmp_path: Path) -> None:
    with powered(virtual.Settings(folder=tmp_path / "phone", soc="SM8350")) as phone:
        bench = Bench(bundle=small_bundle, out=tmp_path / "out", name=f"tcp:{phone.serial}")
        result = only(bench(replace(ONE_VARIANT, repetitions=1)))
    assert result.complete
    assert result.runner.target == "android-dotprod"
    assert (result.protocol.threads, result.protocol.cpu_mask) == (1, "f0")


def test_a_runner_with_unknown_instructions_is_named(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program with i8mm on a processor without it: it dies with SIGILL, in fact."""
    monkeypatch.setattr(programs, "best_target", lambda _features: I8MM)
    with powered(virtual.Settings(folder=tmp_path / "phone", soc="SM8350")) as phone:
        bench = Bench(bundle=small_bundle, out=tmp_path / "out", name=f"tcp:{phone.serial}")
        measured = bench(replace(ONE_VARIANT, repetitions=1))
    assert [failure.kind for failure in only(measured).failures] == ["illegal_instruction"]
    assert "SIGILL" in measured.problems[0]


def test_an_own_prompt_picture_and_length(bench: Bench, demo_checkpoint: Path) -> None:
    picture = demo_checkpoint / "images" / "scene-1.png"
    settings = replace(
        ONE_VARIANT, prompt="What is it?", image=picture, generated_tokens=5, repetitions=1
    )
    result = only(bench(settings))
    assert result.protocol.prompt == "What is it?"
    assert result.protocol.name == "custom"
    assert result.samples[0].tokens.generated == 5
    assert result.variant.resolution == SIDE


def test_two_phones_are_measured_at_the_same_time_and_a_third_stops_nobody(
    bench: Bench, phone: Running, tmp_path: Path
) -> None:
    settings = replace(ONE_VARIANT, repetitions=2)
    quiet = Shown(pushing=Unseen(), measuring=Unseen(), say=bench.said.append)
    with powered(virtual.Settings(folder=tmp_path / "second")) as other:
        names = [f"tcp:{phone.serial}", "tcp:127.0.0.1:1", f"tcp:{other.serial}"]
        first, lost, second = measure_all(
            names,
            prepare(bench.bundle, settings),
            settings,
            out=bench.out,
            force=False,
            shown=lambda: quiet,
        )
    assert isinstance(lost, Failed)
    assert "tcp:127.0.0.1:1" in str(lost.error)
    assert isinstance(first, Measured)
    assert isinstance(second, Measured)
    assert only(first).complete
    assert only(second).complete
    assert len(list(bench.out.glob("*.json"))) == 2
