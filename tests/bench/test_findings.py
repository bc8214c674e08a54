"""Each warning appears when its cause is in the samples, and only then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imp_deploy.bench.findings import find
from imp_deploy.results import Conditions, Result, Sample, Seconds
from imp_deploy.runner import RunSettings
from tests.bench.report import made


def calm(**other: object) -> Result:
    """A measurement without anything to say about it."""
    result = made.result(bits=4)
    samples = tuple(
        replace(
            s,
            rest_reached=True,
            repacked_bytes=1,
            trace=replace(s.trace, clocks_khz=(FULL,) * len(s.trace.seconds)),
            seconds=Seconds(load=1, vision=0.4, prompt=2.4, generate=2.9, total=5.8),
        )
        for s in result.samples
    )
    return replace(result, samples=samples, **other)  # type: ignore[arg-type]


FULL = tuple(core.max_khz for core in made.PHONE.cores)


def codes(result: Result) -> list[str]:
    return [warning.code for warning in find(result)]


def with_last(result: Result, **other: object) -> Result:
    """Its last sample changed."""
    last: Sample = replace(result.samples[-1], **other)  # type: ignore[arg-type]
    return replace(result, samples=(*result.samples[:-1], last))


def test_a_calm_measurement_has_no_warning() -> None:
    assert codes(calm()) == []


def test_warm_ups_are_not_judged() -> None:
    result = calm()
    first = replace(result.samples[0], swap_bytes=1 << 20, rest_reached=False, cpu_mask="1")
    assert first.warmup
    assert codes(replace(result, samples=(first, *result.samples[1:]))) == []


@pytest.mark.parametrize(
    ("conditions", "code"),
    [
        ({"battery_saver": True}, "battery_saver"),
        ({"charging": True}, "charging"),
        ({"screen_on": False}, "screen_off"),
        ({"battery_percent": 12}, "battery_low"),
    ],
)
def test_conditions_that_falsify(conditions: dict[str, object], code: str) -> None:
    start = Conditions(screen_on=True, battery_percent=81, charging=False, battery_saver=False)
    assert codes(calm(conditions=replace(start, **conditions))) == [code]  # type: ignore[arg-type]


def test_conditions_that_are_not_known_are_not_warned_of() -> None:
    unknown = Conditions(screen_on=None, battery_percent=None, charging=None, battery_saver=None)
    assert codes(calm(conditions=unknown)) == []


def test_a_lowered_limit_of_a_core_in_use_is_throttling() -> None:
    result = calm()
    after = result.samples[-1].after
    lowered = (*after.limits_khz[:7], after.limits_khz[7] // 2)
    assert codes(with_last(result, after=replace(after, limits_khz=lowered))) == ["throttled"]


def test_a_lowered_limit_of_an_idle_core_is_not() -> None:
    result = calm()
    after = result.samples[-1].after
    lowered = (after.limits_khz[0] // 2, *after.limits_khz[1:])  # mask fc leaves cores 0 and 1
    assert codes(with_last(result, after=replace(after, limits_khz=lowered))) == []


def test_clocks_that_fall_during_a_repetition_are_throttling() -> None:
    result = calm()
    trace = result.samples[-1].trace
    count = len(trace.seconds)
    slow = tuple(khz * 7 // 10 for khz in FULL)
    fell = (FULL,) * (count // 2) + (slow,) * (count - count // 2)
    assert codes(with_last(result, trace=replace(trace, clocks_khz=fell))) == ["throttled"]


def test_idle_first_and_last_readings_are_no_throttling() -> None:
    result = calm()
    trace = result.samples[-1].trace
    idle = tuple(khz // 5 for khz in FULL)
    rows = (FULL,) * (len(trace.seconds) - 1) + (idle,)
    assert codes(with_last(result, trace=replace(trace, clocks_khz=rows))) == []


def test_a_wide_spread_names_the_figure() -> None:
    result = calm()
    seconds = replace(result.samples[-1].seconds, vision=0.6)
    (warning,) = find(with_last(result, seconds=seconds))
    assert warning.code == "spread"
    assert "T_VE" in warning.message
    assert "S_gen" not in warning.message


def test_swap_repacking_rest_and_mask() -> None:
    assert codes(with_last(calm(), swap_bytes=5 << 20)) == ["swap_used"]
    assert codes(with_last(calm(), repacked_bytes=0)) == ["no_repacked_kernels"]
    assert codes(with_last(calm(), rest_reached=False)) == ["not_cooled"]
    assert codes(with_last(calm(), cpu_mask="f", threads=4)) == [
        "cpu_mask_refused",
        "fewer_threads",
    ]


def test_16_bits_need_no_repacking() -> None:
    result = made.result(bits=16)
    assert all(sample.repacked_bytes == 0 for sample in result.samples)
    assert "no_repacked_kernels" not in codes(result)


def test_a_tower_on_slow_kernels_is_said_where_it_was_not_asked_for() -> None:
    """T_VE is twice as long then, and nothing else shows it."""
    result = calm()
    files = tuple(
        replace(file, bits=8, type="Q8_0") if file.role == "vision" else file
        for file in result.bundle.files
    )
    result = replace(result, bundle=replace(result.bundle, files=files))
    assert codes(result) == ["no_repacked_tower"]
    fast = tuple(replace(sample, vision_repacked_bytes=1) for sample in result.samples)
    assert codes(replace(result, samples=fast)) == []
    stock = replace(result.protocol, settings=RunSettings(kernels="stock"))
    assert codes(replace(result, protocol=stock)) == []
    assert codes(replace(result, device=replace(result.device, kind="host"))) == []


def test_no_sensor_is_said_and_hides_nothing() -> None:
    result = calm()
    blind = tuple(
        replace(
            s,
            rest_reached=False,
            before=replace(s.before, celsius={}),
            after=replace(s.after, celsius={}),
            trace=replace(s.trace, celsius={}),
        )
        for s in result.samples
    )
    assert codes(replace(result, samples=blind)) == ["thermal_unreadable"]


def test_an_emulated_device_says_so_even_without_samples() -> None:
    assert codes(made.emulated(samples=())) == ["emulated"]
