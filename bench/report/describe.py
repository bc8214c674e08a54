"""Everything about a group that a reader needs to repeat it, as titled lists of facts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from imp_deploy.bench.report import figures
from imp_deploy.bench.report.rows import Group, Row
from imp_deploy.results import Core, DeviceRecord, Protocol, Result, Sample


@dataclass(frozen=True)
class Facts:
    title: str
    items: tuple[tuple[str, str], ...]


def describe(group: Group) -> tuple[Facts, ...]:
    result = group.first
    return (
        Facts("Device", _device(result.device)),
        Facts("Protocol", _protocol(result.protocol)),
        Facts("Settings in fact", _per_row(group, _settings)),
        Facts("Conditions", _per_row(group, _conditions)),
        Facts("Runner", _runner(result)),
        Facts("Bundle", _bundle(group)),
    )


def notices(group: Group) -> tuple[tuple[str, str, str], ...]:
    """Failures and then warnings: variants, code, sentence; what several variants share once."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in group.rows:
        for failure in row.result.failures:
            place = f"{row.name}, {_round(failure.round, row.result.protocol)}"
            found.setdefault((f"failed: {failure.kind}", failure.message), []).append(place)
    for row in group.rows:
        for each in dict.fromkeys((w.code, w.message) for w in row.result.warnings):
            found.setdefault(each, []).append(row.name)
    return tuple((_names(names, group), *what) for what, names in found.items())


def _names(names: list[str], group: Group) -> str:
    if len(names) == 1 or names != [row.name for row in group.rows]:
        return "; ".join(names)
    return f"{'emulated: ' if group.emulated else ''}all {len(names)} variants"


def _round(number: int, protocol: Protocol) -> str:
    if number < protocol.warmups:
        return f"warm-up {number + 1}"
    return f"repetition {number - protocol.warmups + 1}"


def _device(device: DeviceRecord) -> tuple[tuple[str, str], ...]:
    ways = {
        "host": "this computer itself",
        "virtual": "virtual phone",
        "adb": "adb server",
        "tcp": "ADB over TCP",
        "usb": "ADB over USB",
    }
    emulated = "yes: its times say nothing about a real device" if device.emulated else "no"
    return (
        ("Model", f"{device.manufacturer} {device.model}".strip()),
        ("Serial", device.serial),
        ("Emulated", emulated),
        ("SoC", device.soc or "not told"),
        ("Cores", cores(device.cores)),
        ("CPU features", " ".join(device.features) or "not told"),
        ("Memory", figures.size(device.memory_bytes)),
        ("System", device.os),
        ("Build fingerprint", device.fingerprint),
        ("ABI", device.abi),
        ("Reached by", ways[device.kind]),
    )


def cores(all_cores: tuple[Core, ...]) -> str:
    """`1 × 3.30 GHz, 5 × 3.15 GHz`."""
    clocks = sorted({core.max_khz for core in all_cores}, reverse=True)
    counts = ((sum(c.max_khz == clock for c in all_cores), clock) for clock in clocks)
    return ", ".join(
        f"{count} × {figures.gigahertz(clock) if clock else 'unknown clock'}"
        for count, clock in counts
    )


def _protocol(protocol: Protocol) -> tuple[tuple[str, str], ...]:
    text = protocol.text_tokens
    cooldown = protocol.cooldown_celsius
    rest = (
        "none"
        if cooldown is None
        else f"until below {cooldown:g} °C, at most {protocol.cooldown_seconds:g} s"
    )
    named = {"paper": "the paper's", "custom": "custom"}
    return (
        ("Protocol", named[protocol.name]),
        ("Text tokens", "as the prompt has" if text is None else str(text)),
        ("Generated tokens", f"{protocol.generated_tokens}, whatever the model says"),
        ("Warm-ups", f"{protocol.warmups}, not counted"),
        ("Repetitions", str(protocol.repetitions)),
        ("Rest before each", rest),
        *_computed(protocol),
        ("Sampled every", f"{protocol.sample_milliseconds} ms"),
        ("Prompt", protocol.prompt),
        ("Image SHA-256", protocol.image_sha256 or "no image"),
    )


def _computed(protocol: Protocol) -> tuple[tuple[str, str], ...]:
    """With which threads, and what else is unusual."""
    cached = (
        "in the cache before each repetition, and not decoded in it: as for a second question",
    )
    found = [("Text before the image", text) for text in cached if protocol.cached_text]
    if protocol.settings is not None:
        return (*found, ("Settings", "those that `imp-deploy tune` found for each variant"))
    return (
        *found,
        ("Threads asked for", str(protocol.threads)),
        ("CPU mask asked for", protocol.cpu_mask or "none"),
    )


def _settings(row: Row) -> str:
    """In fact, of all samples."""
    found = dict.fromkeys(
        f"threads {s.threads_vision}/{s.threads_prompt}/{s.threads_generate}, ubatch {s.ubatch}, "
        f"flash attention {s.flash_attention_vision}/{s.flash_attention}, cache {s.cache_type}, "
        f"{s.kernels} kernels"
        for s in (sample.settings for sample in row.result.measured)
        if s is not None
    )
    return "; ".join(found) or "not told"


def _per_row(group: Group, facts: Callable[[Row], str]) -> tuple[tuple[str, str], ...]:
    """One fact for all rows where they agree, otherwise one for each."""
    texts = [facts(row) for row in group.rows]
    if len(set(texts)) == 1:
        return (("All variants", texts[0]),)
    return tuple((row.name, text) for row, text in zip(group.rows, texts, strict=True))


def _conditions(row: Row) -> str:
    seen = row.result.conditions
    battery = "unknown" if seen.battery_percent is None else f"{seen.battery_percent} %"
    return ", ".join(
        (
            f"screen {_three(seen.screen_on, 'on', 'off')}",
            f"battery {battery}",
            _three(seen.charging, "charging", "not charging", "charging unknown"),
            f"battery saver {_three(seen.battery_saver, 'on', 'off')}",
        )
    )


def _three(value: bool | None, yes: str, no: str, unknown: str = "unknown") -> str:
    return unknown if value is None else yes if value else no


DURING = (
    "variant",
    "threads",
    "CPU mask",
    "rest before each (s)",
    "not cool enough",
    "hottest before (°C)",
    "hottest during (°C)",
    "peak memory",
    "swapped",
    "repacked weights, LLM / tower",
)


def during(group: Group) -> tuple[tuple[str, ...], ...]:
    """How each variant's measured repetitions went, columns as `DURING`: the threads and mask in
    fact, the median rest, how often it did not reach its temperature, the highest of all sensors,
    the largest memory, the most swap, and the fewest repacked weights."""
    return tuple(_during(row) for row in group.rows if row.result.measured)


def _during(row: Row) -> tuple[str, ...]:
    samples = row.result.measured
    late = sum(not s.rest_reached for s in samples)
    before, peak = _hottest(samples)
    swap = max(s.swap_bytes for s in samples)
    repacked = (
        min(s.repacked_bytes for s in samples),
        min(s.vision_repacked_bytes for s in samples),
    )
    return (
        row.name,
        ", ".join(sorted({str(s.threads) for s in samples})),
        ", ".join(sorted({s.cpu_mask or "none" for s in samples})),
        f"{statistics.median(s.rested_seconds for s in samples):.0f}",
        f"{late} of {len(samples)}",
        figures.figure(before, 1),
        figures.figure(peak, 1),
        figures.size(max(s.peak_rss_bytes for s in samples)),
        figures.size(swap) if swap else "none",
        " / ".join(figures.size(size) if size else "none" for size in repacked),
    )


def _hottest(samples: Iterable[Sample]) -> tuple[float | None, float | None]:
    before: list[float] = []
    peak: list[float] = []
    for sample in samples:
        before += sample.before.celsius.values()
        peak += [*sample.before.celsius.values(), *sample.after.celsius.values()]
        peak += [value for column in sample.trace.celsius.values() for value in column]
    return max(before, default=None), max(peak, default=None)


def _runner(result: Result) -> tuple[tuple[str, str], ...]:
    runner = result.runner
    return (
        ("Target", runner.target),
        ("llama.cpp", runner.llama_cpp),
        ("Build flags", runner.build_flags or "none"),
        ("SHA-256", runner.sha256),
        ("Says of itself", runner.system_info.strip() or "nothing"),
    )


def _bundle(group: Group) -> tuple[tuple[str, str], ...]:
    bundle = group.first.bundle
    names = sorted({row.result.bundle.name for row in group.rows})
    files = {file.path: file for row in group.rows for file in row.result.bundle.files}
    return (
        ("Name", figures.joined(names)),
        ("Family", bundle.family),
        ("Weights SHA-256", bundle.weights_sha256),
        *(
            (file.path, f"{file.type}, {figures.size(file.bytes)}, SHA-256 {file.sha256}")
            for file in files.values()
        ),
    )
