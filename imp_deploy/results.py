"""The result of measuring one variant of a bundle on one device: a JSON file with every raw sample.

`bench` writes it anew after every sample; `report` and `check` read it. The summary is always
computed from the samples.
"""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imp_deploy import record
from imp_deploy.files import read_json_object, write_json_atomic
from imp_deploy.runner import RunSettings, Seconds, State, Tokens, Trace

__all__ = ["Seconds", "State", "Tokens", "Trace"]

SCHEMA = 1
METRICS = ("T_VE", "S_prompt", "S_gen", "T_total")

_CURE = "measure again with `imp-deploy bench`"

Kind = Literal["host", "virtual", "adb", "tcp", "usb"]


@dataclass(frozen=True, kw_only=True)
class Core:
    """One CPU core; `max_khz` 0 where the system does not tell."""

    cpu: int
    max_khz: int


@dataclass(frozen=True, kw_only=True)
class DeviceRecord:
    """What was measured on. `os`: "Android 14" or "Linux 6.1"; `fingerprint`: of the Android build,
    or of the host's kernel; `features`: as /proc/cpuinfo spells them."""

    kind: Kind
    serial: str
    manufacturer: str
    model: str
    soc: str
    abi: str
    cores: tuple[Core, ...]
    features: tuple[str, ...]
    memory_bytes: int
    os: str
    fingerprint: str
    emulated: bool


@dataclass(frozen=True, kw_only=True)
class RunnerRecord:
    """`target`: what `imp-deploy build` calls it; `system_info`: what the binary says of itself."""

    target: str
    llama_cpp: str
    build_flags: str
    system_info: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    path: str
    role: Literal["llm", "vision"]
    bits: int
    type: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class BundleRecord:
    """`files`: the two that the variant consists of."""

    name: str
    family: str
    weights_sha256: str
    files: tuple[FileRecord, ...]


@dataclass(frozen=True, kw_only=True)
class VariantRecord:
    bits: int
    resolution: int
    vision_bits: int
    visual_tokens: int


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """`name`: "paper" when the lengths are the paper's and there are enough repetitions; threads,
    rest and picture are not stated there. `threads` and `cpu_mask` as
    asked of the runner (`cpu_mask` hexadecimal, "" for none); a sample says what it ran with.
    `cooldown_celsius` None: no rest. `image_sha256`: of the decoded picture, as PPM.
    `cached_text`: the text before the image was in the LLM's cache before each repetition, so that
    its times are of a second question, not of a first; never the paper's. `settings`: those that
    `tune` found for this variant, with `threads` and `cpu_mask`; None: the runner's own."""

    name: Literal["paper", "custom"]
    text_tokens: int | None
    generated_tokens: int
    warmups: int
    repetitions: int
    threads: int
    cpu_mask: str
    cooldown_celsius: float | None
    cooldown_seconds: float
    sample_milliseconds: int
    prompt: str
    image_sha256: str
    cached_text: bool = False
    settings: RunSettings | None = None


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How the device was at one moment; None where it does not tell."""

    screen_on: bool | None
    battery_percent: int | None
    charging: bool | None
    battery_saver: bool | None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One repetition. `round` counts from 0, warm-ups included; `rested_seconds` before it, and
    `rest_reached` whether the temperature asked for was reached by then. `swap_bytes`: the most of
    the process that was in swap. `repacked_bytes`: weights of the LLM in the layouts of
    the fast kernels, `vision_repacked_bytes`: of the tower. `decode_bytes`: weights that are read
    for each generated token. `threads` and `cpu_mask`: in fact, and so `settings`, None where an
    earlier version measured. `kept_tokens`: those of the prompt that the cache held before the
    repetition."""

    round: int
    warmup: bool
    seconds: Seconds
    tokens: Tokens
    token_ids: tuple[int, ...]
    threads: int
    cpu_mask: str
    rested_seconds: float
    rest_reached: bool
    conditions: Conditions
    before: State
    after: State
    trace: Trace
    peak_rss_bytes: int
    swap_bytes: int
    repacked_bytes: int
    decode_bytes: int
    kept_tokens: int = 0
    settings: RunSettings | None = None
    vision_repacked_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A repetition that gave no sample. `kind`: "killed" (by the system, likely for memory),
    "illegal_instruction", "crashed", "hang", "disk_full", "model", "error", "skipped" (after two
    failures of its variant); or how the whole job ended: "rebooted", "stopped" (killed), "failed",
    "stuck", "disk_full". `message`: a sentence with the cure."""

    round: int
    kind: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Warning:
    """`code` is for programs, `message` a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Over the samples, warm-ups left out; p5 and p95 by linear interpolation."""

    median: float
    mean: float
    stdev: float
    p5: float
    p95: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """`bandwidth_bytes_per_second`: read plus written in a copy test on the same cores, 0 where it
    could not be measured. `complete`: every repetition has its sample. Times of day are UTC."""

    device: DeviceRecord
    runner: RunnerRecord
    bundle: BundleRecord
    variant: VariantRecord
    protocol: Protocol
    conditions: Conditions
    run: str
    started: str
    bandwidth_bytes_per_second: float
    samples: tuple[Sample, ...]
    failures: tuple[Failure, ...]
    warnings: tuple[Warning, ...]
    complete: bool
    schema: int = SCHEMA

    @property
    def measured(self) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if not sample.warmup)


def metrics(sample: Sample) -> dict[str, float]:
    """T_VE and T_total in seconds, S_prompt and S_gen in tokens per second, as in the paper's
    Table 4. S_prompt covers text and visual tokens but those that the cache held already: so many
    tokens over S_prompt are the seconds of the prompt's phase in any case. The first generated
    token comes from the prompt's logits, so that N tokens are N - 1 decoding steps, and S_gen
    counts those."""
    seconds, tokens = sample.seconds, sample.tokens
    return {
        "T_VE": seconds.vision,
        "S_prompt": _rate(tokens.text + tokens.visual - sample.kept_tokens, seconds.prompt),
        "S_gen": _rate(tokens.generated - 1, seconds.generate),
        "T_total": seconds.total,
    }


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 and count > 0 else 0.0


def summary(samples: tuple[Sample, ...]) -> dict[str, Statistics]:
    """Per metric; empty without samples."""
    if not samples:
        return {}
    rows = [metrics(sample) for sample in samples]
    return {name: _statistics([row[name] for row in rows]) for name in METRICS}


def _statistics(values: list[float]) -> Statistics:
    ordered = sorted(values)
    return Statistics(
        median=statistics.median(ordered),
        mean=statistics.fmean(ordered),
        stdev=statistics.stdev(ordered) if len(ordered) > 1 else 0.0,
        p5=_percentile(ordered, 0.05),
        p95=_percentile(ordered, 0.95),
    )


def _percentile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def bandwidth_share(result: Result) -> float | None:
    """The part of the measured memory bandwidth that decoding reached: the weights read per token
    times S_gen, over the bandwidth. None where one of them is not known, and for the runner of
    the NDK, which decodes on the GPU, while the bandwidth is the CPU's."""
    samples = result.measured
    if (
        not samples
        or result.runner.target == "android-ndk"
        or result.bandwidth_bytes_per_second <= 0
    ):
        return None
    read = statistics.median(s.decode_bytes * metrics(s)["S_gen"] for s in samples)
    return read / result.bandwidth_bytes_per_second


def protocol_marks(result: Result) -> str:
    """What of the protocol must stand beside the figures wherever they do, as `, text cached` and
    `, tuned`; "" for nothing."""
    cached = ", text cached" if result.protocol.cached_text else ""
    return cached + (", tuned" if result.protocol.settings is not None else "")


def to_json(result: Result) -> dict[str, Any]:
    value = dataclasses.asdict(result)
    shown = {k: dataclasses.asdict(v) for k, v in summary(result.measured).items()}
    return {"schema": value.pop("schema"), **value, "summary": shown}


def save(path: Path, result: Result) -> None:
    write_json_atomic(path, to_json(result))


_SHAPE = frozenset({"schema", "device", "runner", "bundle", "variant", "protocol", "samples"})


def is_result(value: Any) -> bool:
    """Whether a JSON document has the shape of one, of whatever schema."""
    return isinstance(value, dict) and set(value) >= _SHAPE


def load(path: Path) -> Result:
    """Reads and checks a result file; its summary is computed anew."""
    value = read_json_object(path, _CURE)
    record.require_schema(value, SCHEMA, str(path), _CURE)
    value.pop("summary", None)
    return record.parse(Result, value, str(path), _CURE)
