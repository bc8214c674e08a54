"""Measurements of intrinsic quality as a report needs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from imp_deploy.bench.report import figures
from imp_deploy.bench.report.accuracy import Subject, subject
from imp_deploy.quality import METRICS, Quality, metrics

TITLES: Final = {
    "mean_kl": ("mean KL", "nats"),
    "p99_kl": ("p99 KL", "nats"),
    "top1_agreement": ("top-1 agreement", "%"),
    "perplexity_ratio": ("perplexity ratio", ""),
    "worst_cosine": ("worst cosine", ""),
    "mean_cosine": ("mean cosine", ""),
}


@dataclass(frozen=True)
class Distance:
    """The measurement that is shown, and how many `others` of the same files, questions and
    reference are not."""

    file: str
    quality: Quality
    others: int = 0

    @cached_property
    def metrics(self) -> dict[str, float]:
        return metrics(self.quality.items)

    @property
    def reference(self) -> str:
        """`Imp-3B@196, 16 bits`."""
        variant = self.quality.reference
        vision = f" (vision {variant.vision_bits})" if variant.vision_bits != 16 else ""
        name = self.quality.reference_bundle.name
        return f"{name}@{variant.resolution}, {variant.bits} bits{vision}"

    @property
    def questions(self) -> str:
        task = self.quality.task
        return f"{task.asked} of {task.title}"

    @property
    def date(self) -> str:
        return self.quality.started[:16].replace("T", " ")

    def texts(self) -> tuple[str, ...]:
        """The metrics in the order of `METRICS`; none without questions."""
        return tuple(_text(name, self.metrics.get(name)) for name in METRICS)


def _text(name: str, value: float | None) -> str:
    if value is None:
        return figures.NONE
    if name == "top1_agreement":
        return f"{100 * value:.2f}"
    return f"{value:.2e}" if 0 < value < 1e-3 else f"{value:.4f}"


def nearest(
    qualities: Iterable[tuple[Path, Quality]],
) -> Mapping[Subject, tuple[Distance, ...]]:
    """By subject, the newest measurement for each set of questions and each reference."""
    found: dict[Subject, dict[tuple[object, ...], list[tuple[Path, Quality]]]] = {}
    for path, quality in qualities:
        compared = (
            quality.task.name,
            quality.task.sha256,
            subject(quality.reference_bundle, quality.runner),
            quality.max_tokens,
        )
        files = found.setdefault(subject(quality.bundle, quality.runner), {})
        files.setdefault(compared, []).append((path, quality))
    return {key: tuple(map(_newest, files.values())) for key, files in found.items()}


def _newest(held: list[tuple[Path, Quality]]) -> Distance:
    *others, last = sorted(held, key=lambda one: (one[1].started, str(one[0])))
    return Distance(str(last[0]), last[1], len(others))
