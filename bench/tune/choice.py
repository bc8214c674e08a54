"""What `tune` found for one variant on one device, and where that is kept: a JSON file in the
user's cache, which `run` and `bench --tuned` look up."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from imp_deploy import record
from imp_deploy.bundle import Bundle, Variant
from imp_deploy.cache import cache_folder
from imp_deploy.errors import BadInput
from imp_deploy.files import full_disk_is_bad_input, read_json_object, write_json_atomic
from imp_deploy.results import DeviceRecord, Protocol
from imp_deploy.runner import RunSettings, Seconds

SCHEMA = 1

_CURE = "tune again with `imp-deploy tune --force`"

Answer = Literal["faster", "not faster", "noise", "undecided", "changed", "failed"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How a variant is computed on a device. `threads` and `cpu_mask` as in a protocol."""

    threads: int
    cpu_mask: str
    settings: RunSettings = field(default_factory=RunSettings)

    def applied(self, protocol: Protocol) -> Protocol:
        """`protocol` with this choice in it, marked by its settings."""
        return dataclasses.replace(
            protocol, threads=self.threads, cpu_mask=self.cpu_mask, settings=self.settings
        )


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a choice holds for: this very device, these files and this runner."""

    serial: str
    model: str
    soc: str
    fingerprint: str
    emulated: bool
    bundle: str
    llm_sha256: str
    vision_sha256: str
    runner_sha256: str

    @property
    def digest(self) -> str:
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """On one part of the work of a candidate: "vision", "prompt", "generate", "LLM" or "all".
    Medians in seconds of the settings that it was measured beside, and of its own; None where it
    was not measured. `reason`: a sentence."""

    part: str
    before: float | None
    after: float | None
    answer: Answer
    reason: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate of one stage. `samples`: its measured repetitions; `used`: its settings in fact.
    `logit_difference`: the largest absolute difference of a logit from the default's, up to the
    first token that differs; None where there are none. `verdicts`: none for what the candidates
    were measured beside."""

    stage: str
    label: str
    choice: Choice
    used: RunSettings | None
    samples: tuple[Seconds, ...]
    same_tokens: bool | None
    logit_difference: float | None
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """`chosen` after the `stages` that are finished; `complete`: after all."""

    key: Key
    bits: int
    resolution: int
    vision_bits: int
    repetitions: int
    generated_tokens: int
    default: Choice
    chosen: Choice
    stages: tuple[str, ...]
    trials: tuple[Trial, ...]
    started: str
    complete: bool
    kind: Literal["tuning"] = "tuning"
    schema: int = SCHEMA

    @property
    def changed(self) -> bool:
        return self.chosen != self.default


def key_for(device: DeviceRecord, bundle: Bundle, variant: Variant, runner_sha256: str) -> Key:
    return Key(
        serial=device.serial,
        model=device.model,
        soc=device.soc,
        fingerprint=device.fingerprint,
        emulated=device.emulated,
        bundle=bundle.name,
        llm_sha256=variant.llm.sha256,
        vision_sha256=variant.vision.sha256,
        runner_sha256=runner_sha256,
    )


def path_for(key: Key) -> Path:
    return cache_folder() / "tuned" / f"{key.digest}.json"


def kept(key: Key) -> Tuned | None:
    """What is kept for `key`, complete or not. A file that cannot be read is bad input."""
    path = path_for(key)
    if not path.exists():
        return None
    value = read_json_object(path, _CURE)
    record.require_schema(value, SCHEMA, str(path), _CURE)
    tuned = record.parse(Tuned, value, str(path), _CURE)
    if tuned.key != key:
        raise BadInput(f"{path} is of another device or bundle than its name says; {_CURE}.")
    return tuned


def keep(tuned: Tuned) -> Path:
    path = path_for(tuned.key)
    with full_disk_is_bad_input(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(path, to_json(tuned))
    return path


def to_json(tuned: Tuned) -> dict[str, Any]:
    value = dataclasses.asdict(tuned)
    return {"kind": value.pop("kind"), "schema": value.pop("schema"), **value}


def any_kept() -> bool:
    """Whether anything was ever tuned: if not, nobody has to ask the device who it is."""
    folder = cache_folder() / "tuned"
    return folder.is_dir() and any(folder.glob("*.json"))


def find(
    device: DeviceRecord, bundle: Bundle, variant: Variant, runner_sha256: str
) -> Choice | None:
    """The choice that a finished tuning kept; None without one that can be read."""
    if not any_kept():
        return None
    try:
        tuned = kept(key_for(device, bundle, variant, runner_sha256))
    except BadInput:  # it is only a cache
        return None
    return tuned.chosen if tuned is not None and tuned.complete else None


def require(device: DeviceRecord, bundle: Bundle, variant: Variant, runner_sha256: str) -> Choice:
    """The same; `BadInput` without one."""
    found = find(device, bundle, variant, runner_sha256)
    if found is None:
        name = "host" if device.kind == "host" else f"{device.model} ({device.serial})"
        what = f"--bits {variant.llm.bits} --resolution {variant.vision.resolution}"
        raise BadInput(
            f"No settings are kept for these files of {bundle.name} and this runner on {name}; "
            f"run `imp-deploy tune BUNDLE {what} --vision-bits {variant.vision.bits}` on it first, "
            "or measure without --tuned."
        )
    return found
