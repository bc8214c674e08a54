"""Compares a candidate's figures with a baseline's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from imp_deploy.bench.check import accuracy, intrinsic, sizes, speed
from imp_deploy.bench.check.figures import (
    KINDS,
    Accuracy,
    Figures,
    Intrinsic,
    Key,
    Kind,
    Size,
    Speed,
)
from imp_deploy.bench.check.rows import Limits, Row, incomparable, ordered
from imp_deploy.bundle import default_vision_bits
from imp_deploy.errors import BadInput
from imp_deploy.progress import Progress, Unseen

Figure = TypeVar("Figure", Size, Accuracy, Intrinsic, Speed)

_METRICS = {"size": "size", "accuracy": accuracy.METRIC, "quality": "all", "speed": "all"}


def compare(
    baseline: Figures,
    candidate: Figures,
    *,
    kinds: Collection[Kind] = KINDS,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> tuple[Row, ...]:
    """A row for every figure of these kinds that one of them has, the worst answers first. Raises
    `BadInput` where there is none."""
    limits = limits or Limits()
    shown = progress or Unseen()
    shown.start("comparing", sum(len(getattr(baseline, kind)) for kind in kinds))
    rows: list[Row] = []
    if "size" in kinds:
        rows += _each(
            "size",
            {f.key: f for f in baseline.size},
            {f.key: f for f in candidate.size},
            lambda before, after: sizes.compare(before, after, limits),
            _export,
            shown,
        )
    if "accuracy" in kinds:
        rows += _each(
            "accuracy",
            {f.key: f for f in baseline.accuracy},
            {f.key: f for f in candidate.accuracy},
            lambda before, after: accuracy.compare(before, after, limits),
            _evaluate,
            shown,
        )
    if "quality" in kinds:
        rows += _each(
            "quality",
            {f.key: f for f in baseline.quality},
            {f.key: f for f in candidate.quality},
            intrinsic.compare,
            _measure_quality,
            shown,
        )
    if "speed" in kinds:
        rows += _each(
            "speed",
            *_same_place(baseline.speed, candidate.speed),
            lambda before, after: speed.compare(before, after, limits),
            _measure_speed,
            shown,
        )
    if not rows:
        raise BadInput(
            f"Neither the baseline nor the candidate has a figure of {', '.join(kinds)}, so that "
            "there is nothing to compare; give the folder with the bundle and the results of "
            "`eval`, `quality` and `bench`, or other kinds to --only."
        )
    return ordered(rows)


def _each(
    kind: Kind,
    before: dict[Key, Figure],
    after: dict[Key, Figure],
    both: Callable[[Figure, Figure], tuple[Row, ...]],
    cure: Callable[[Figure], str],
    progress: Progress,
) -> list[Row]:
    rows: list[Row] = []
    for key, figure in before.items():
        if key in after:
            rows += both(figure, after[key])
        else:
            reason = (
                f"The baseline has it and the candidate has not; {cure(figure)}, or give it up "
                "with --update."
            )
            rows.append(incomparable(kind, figure.subject, _METRICS[kind], reason))
        progress.advance(1)
    for key, figure in after.items():
        if key not in before:
            reason = "The candidate has it and the baseline has not; add it with --update."
            rows.append(incomparable(kind, figure.subject, _METRICS[kind], reason))
    return rows


def _same_place(
    before: Sequence[Speed], after: Sequence[Speed]
) -> tuple[dict[Key, Speed], dict[Key, Speed]]:
    """Both by variant and device; where of a variant one measurement of each side is left over,
    from two devices, they are put together, so that one row tells what differs."""
    old, new = {f.key: f for f in before}, {f.key: f for f in after}
    for figure in after:
        left = [f for f in before if f.place == figure.place and f.key not in new]
        mine = [f for f in after if f.place == figure.place and f.key not in old]
        if len(left) == 1 and mine == [figure]:
            new[left[0].key] = new.pop(figure.key)
    return old, new


def _export(size: Size) -> str:
    shape = "" if size.resolution is None else f" --resolution {size.resolution}"
    option = "--bits" if size.role == "llm" else "--vision-bits"
    return f"export with {option} {size.bits}{shape}"


def _evaluate(figure: Accuracy) -> str:
    device = "" if figure.device == "host" else f" on {figure.device}"
    return f"run `imp-deploy eval BUNDLE{_task(figure)}{_options(figure)}`{device}"


def _measure_quality(figure: Intrinsic) -> str:
    return f"run `imp-deploy quality BUNDLE{_task(figure)}{_options(figure)}`"


def _task(figure: Accuracy | Intrinsic) -> str:
    """The very same questions, and answers of the same length."""
    task = figure.task
    some = "" if task.seed is None else f" --limit {task.asked} --seed {task.seed}"
    length = f" --max-tokens {figure.max_tokens}"
    return f" --task {task.name} --split {task.split}{some}{length}"


def _measure_speed(figure: Speed) -> str:
    device = figure.device
    marks = " --cached-text" if figure.protocol.cached_text else ""
    marks += " --tuned" if figure.protocol.settings is not None else ""
    return (
        f"run `imp-deploy bench BUNDLE{_options(figure)}{marks}` on {device.model} "
        f"({device.serial})"
    )


def _options(figure: Accuracy | Intrinsic | Speed) -> str:
    variant = figure.variant
    usual = default_vision_bits(variant.bits)
    vision = "" if variant.vision_bits == usual else f" --vision-bits {variant.vision_bits}"
    return f" --bits {variant.bits} --resolution {variant.resolution}{vision}"
