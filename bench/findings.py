"""What a reader must know before trusting a measurement: warnings as values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imp_deploy.build.target import NDK
from imp_deploy.results import METRICS, Result, Sample, Statistics, Warning, summary

SPREAD = 0.10
_LOWERED = 0.90
_LEAST_SECONDS = 2.0  # shorter repetitions have too few readings of the clocks to judge by


def find(result: Result) -> tuple[Warning, ...]:
    """All warnings about `result`, in the order in which they matter."""
    found = [*_of_device(result)]
    if result.measured:
        found += [*_of_heat(result), *_of_memory(result), *_of_spread(result), *_of_cores(result)]
    return tuple(found)


def _of_device(result: Result) -> Iterator[Warning]:
    """Conditions at the beginning, and before each repetition."""
    seen = [result.conditions, *(sample.conditions for sample in result.measured)]
    percents = [c.battery_percent for c in seen if c.battery_percent is not None]
    if result.device.emulated:
        yield Warning(code="emulated", message="The device is emulated: its times mean nothing.")
    if any(conditions.battery_saver for conditions in seen):
        yield Warning(
            code="battery_saver", message="Battery saver was on, which lowers the clocks."
        )
    if any(conditions.charging for conditions in seen):
        yield Warning(code="charging", message="The phone was charging, which heats it.")
    if any(conditions.screen_on is False for conditions in seen):
        yield Warning(
            code="screen_off", message="The screen was off; some phones park their big cores then."
        )
    if percents and min(percents) < 20:
        yield Warning(
            code="battery_low",
            message=f"The battery was at {min(percents)} %; many phones slow down below 20 %.",
        )


def _of_heat(result: Result) -> Iterator[Warning]:
    samples, protocol = result.measured, result.protocol
    if slowed := _rounds(s for s in samples if _throttled(result, s)):
        yield Warning(
            code="throttled",
            message=f"The clocks of the cores in use went down in round {slowed}; rest longer "
            "with --cooldown.",
        )
    if not any(s.before.celsius or s.trace.celsius for s in samples):
        yield Warning(
            code="thermal_unreadable",
            message="No temperature could be read: heat may have gone unnoticed.",
        )
    elif protocol.cooldown_celsius is not None and (
        hot := _rounds(s for s in samples if not s.rest_reached)
    ):
        yield Warning(
            code="not_cooled",
            message=f"After {protocol.cooldown_seconds:g} s of rest the phone was still above "
            f"{protocol.cooldown_celsius:g} °C in round {hot}.",
        )


def _of_memory(result: Result) -> Iterator[Warning]:
    swapped = max(sample.swap_bytes for sample in result.measured)
    if swapped > 0:
        yield Warning(
            code="swap_used",
            message=f"Up to {swapped / 2**20:.1f} MiB of the runner were in swap: memory is short.",
        )
    llm = next(file for file in result.bundle.files if file.role == "llm")
    on_cpu = result.runner.target != NDK.name
    if on_cpu and llm.bits < 16 and not all(sample.repacked_bytes for sample in result.measured):
        yield Warning(
            code="no_repacked_kernels",
            message=f"No weights of {llm.path} were repacked for the processor's fast kernels: "
            "the runner does not fit the processor.",
        )
    settings = result.protocol.settings
    wanted = settings is None or settings.kernels == "fast"
    tower = next(file for file in result.bundle.files if file.role == "vision")
    repacked = all(sample.vision_repacked_bytes for sample in result.measured)
    # Not every x86 processor has kernels for 8 bits.
    if on_cpu and result.device.kind != "host" and wanted and tower.bits < 16 and not repacked:
        yield Warning(
            code="no_repacked_tower",
            message=f"No weights of {tower.path} were repacked for the processor's fast kernels, "
            "which makes T_VE longer: the runner does not fit the processor.",
        )


def _of_spread(result: Result) -> Iterator[Warning]:
    spreads = {name: _spread(figures) for name, figures in summary(result.measured).items()}
    wide = [f"{name} {spreads[name]:.0%}" for name in METRICS if spreads[name] > SPREAD]
    if wide:
        yield Warning(
            code="spread",
            message=f"The samples lie further apart (5th to 95th percentile) than {SPREAD:.0%} of "
            f"their median: {', '.join(wide)}.",
        )


def _of_cores(result: Result) -> Iterator[Warning]:
    if result.device.emulated:  # which has fewer processors than it says
        return
    protocol, masks = result.protocol, {sample.cpu_mask for sample in result.measured}
    if protocol.cpu_mask and masks != {protocol.cpu_mask}:
        yield Warning(
            code="cpu_mask_refused",
            message=f"The cores of mask {protocol.cpu_mask} were asked for, and the system gave "
            f"{', '.join(sorted(masks))}.",
        )
    threads = {sample.threads for sample in result.measured}
    if protocol.threads and threads != {protocol.threads}:
        yield Warning(
            code="fewer_threads",
            message=f"{protocol.threads} threads were asked for, and the runner used "
            f"{', '.join(map(str, sorted(threads)))}: the cores it may use are no more.",
        )


def _rounds(samples: Iterator[Sample]) -> str:
    return ", ".join(str(sample.round) for sample in samples)


def _spread(figures: Statistics) -> float:
    return (figures.p95 - figures.p5) / figures.median if figures.median > 0 else 0.0


def _throttled(result: Result, sample: Sample) -> bool:
    """Whether the system had lowered the limit of a core in use, or the clocks fell by a tenth
    from the first to the last quarter of the repetition, in which all threads are busy."""
    mask = int(sample.cpu_mask or "0", 16)
    used = [place for place, core in enumerate(result.device.cores) if mask >> core.cpu & 1]
    for place in used:
        limits = sample.after.limits_khz
        if place < len(limits) and 0 < limits[place] < (
            _LOWERED * result.device.cores[place].max_khz
        ):
            return True
    # The first and the last reading are of cores that just woke up, or are idle again.
    rows = sample.trace.clocks_khz[1:-1]
    quarter = len(rows) // 4
    if quarter == 0 or sample.seconds.total < _LEAST_SECONDS:
        return False
    first, last = _mean_clock(rows[:quarter], used), _mean_clock(rows[-quarter:], used)
    return 0 < last < _LOWERED * first


def _mean_clock(rows: Sequence[tuple[int, ...]], places: Sequence[int]) -> float:
    values = [row[place] for row in rows for place in places if place < len(row) and row[place]]
    return sum(values) / len(values) if values else 0.0
