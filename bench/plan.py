"""What the runner works through on the device: the jobs and their order, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from imp_deploy import runner
from imp_deploy.bench import describe
from imp_deploy.bundle import Bundle, Variant
from imp_deploy.results import Protocol

RESULTS = "results.jsonl"


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """One run of the runner: a round of a variant. `label`: which settings it runs with, where the
    rounds of several are carried out together."""

    round: int
    variant: Variant
    label: str = ""

    @property
    def group(self) -> str:
        return variant_key(self.variant) + (self.label and f"-{self.label}")

    @property
    def id(self) -> str:
        return f"{self.round}-{self.group}"

    @property
    def job_file(self) -> str:
        return f"job-{self.id}.txt"


def variant_key(variant: Variant) -> str:
    return f"{variant.llm.bits}-{variant.vision.resolution}-{variant.vision.bits}"


def order(variants: Sequence[Variant], rounds: int) -> tuple[Repetition, ...]:
    """All variants in every round, and another one first in each: a phone warms up over a run, and
    heat shall not favour one of them."""
    count = len(variants)
    return tuple(
        Repetition(round=number, variant=variants[(number + place) % count])
        for number in range(rounds)
        for place in range(count)
    )


def plan_text(
    repetitions: Sequence[Repetition], protocol: Protocol, timeout: float, folder: str
) -> str:
    """`timeout`: seconds that one repetition may take; `folder`: of the run, on the device."""
    lines = [
        "imp-plan 1",
        f"timeout {timeout:.1f}",
        f"rest_celsius {protocol.cooldown_celsius or 0:.1f}",
        f"rest_seconds {protocol.cooldown_seconds:.1f}",
        f"note {runner.encoded(describe.CONDITIONS_SCRIPT)}",
    ]
    for repetition in repetitions:
        lines += ["run", f"id {repetition.id}", f"group {repetition.group}"]
        lines += [f"job {folder}/{repetition.job_file}", f"out {folder}/{RESULTS}"]
    return "\n".join(lines) + "\n"


def job_text(
    repetition: Repetition,
    protocol: Protocol,
    bundle: Bundle,
    filled_prompt: str,
    places: Mapping[str, str],
    *,
    logits: str | None = None,
) -> str:
    """`places`: where on the device the file with a SHA-256 lies. `logits`: a file there that gets
    those behind every token of the answer."""
    variant = repetition.variant
    resolution = variant.vision.resolution
    assert resolution is not None
    step = runner.Step(
        id=repetition.id,
        prompt=filled_prompt,
        max_tokens=protocol.generated_tokens,
        image=PurePosixPath(places[protocol.image_sha256]),
        side=resolution,
        mode=bundle.preprocess.mode,
        ignore_eog=True,
        text_tokens=protocol.text_tokens,
        logits=None if logits is None else PurePosixPath(logits),
    )
    return runner.job_text(
        runner.Job(
            model=PurePosixPath(places[variant.llm.sha256]),
            mmproj=PurePosixPath(places[variant.vision.sha256]),
            stop=(),
            steps=(step,),
            threads=protocol.threads,
            cpu_mask=protocol.cpu_mask,
            warmup=True,
            sample_ms=protocol.sample_milliseconds,
            keep_text=protocol.cached_text,
            settings=protocol.settings or runner.RunSettings(),
        )
    )
