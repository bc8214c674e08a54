"""How far a variant's next-token distributions and visual embeddings are from those of a 16-bit
reference, without labels: the result file of `quality`.

Both are run on the same images and prompts, teacher-forced on the answer that the reference gave.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imp_deploy import record
from imp_deploy.errors import BadInput
from imp_deploy.evaluation import TaskRecord
from imp_deploy.files import read_json_object, write_json_atomic
from imp_deploy.results import BundleRecord, RunnerRecord, VariantRecord

__all__ = ["BundleRecord", "RunnerRecord", "TaskRecord", "VariantRecord"]

SCHEMA = 1

_CURE = "measure it again with `imp-deploy quality`"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question; the first four have an entry per position of the reference's answer, its
    end-of-generation token included. `kl`: KL(reference || variant) of the next-token distributions
    in nats, at least 0; `agree`: whether both have the same most likely token; `reference_log_p`
    and `log_p`: of the token that the reference chose, in nats. `worst_cosine`, `mean_cosine`: over
    the visual tokens, between the embeddings of reference and variant."""

    id: str
    kl: tuple[float, ...]
    agree: tuple[bool, ...]
    reference_log_p: tuple[float, ...]
    log_p: tuple[float, ...]
    worst_cosine: float
    mean_cosine: float


@dataclass(frozen=True, kw_only=True)
class Quality:
    """`reference`: what was compared with, a variant of the same bundle unless
    `reference_bundle` is another. `max_tokens`: of the reference's answers. `dropped_mass`: the
    largest share of the reference's probability that was stored only as a sum. `pictures_sha256`:
    over the decoded pictures, "" where it is not known."""

    task: TaskRecord
    bundle: BundleRecord
    variant: VariantRecord
    reference_bundle: BundleRecord
    reference: VariantRecord
    runner: RunnerRecord
    max_tokens: int
    threads: int
    dropped_mass: float
    started: str
    items: tuple[Item, ...]
    pictures_sha256: str = ""
    schema: int = SCHEMA


METRICS = (
    "mean_kl",
    "p99_kl",
    "top1_agreement",
    "perplexity_ratio",
    "worst_cosine",
    "mean_cosine",
)


def metrics(items: Sequence[Item]) -> dict[str, float]:
    """`mean_kl` and `p99_kl` in nats over all positions, `top1_agreement` as a share of them,
    `perplexity_ratio` of the variant's perplexity on the reference's answers to the reference's
    own, `worst_cosine` and `mean_cosine` over all visual tokens (the mean of the questions' means:
    they have equally many). Empty without items."""
    if not items:
        return {}
    kl = sorted(value for item in items for value in item.kl)
    agree = [value for item in items for value in item.agree]
    lost = [a - b for item in items for a, b in zip(item.reference_log_p, item.log_p, strict=True)]
    return {
        "mean_kl": math.fsum(kl) / len(kl),
        "p99_kl": _percentile(kl, 0.99),
        "top1_agreement": sum(agree) / len(agree),
        "perplexity_ratio": math.exp(math.fsum(lost) / len(lost)),
        "worst_cosine": min(item.worst_cosine for item in items),
        "mean_cosine": math.fsum(item.mean_cosine for item in items) / len(items),
    }


def _percentile(ordered: Sequence[float], share: float) -> float:
    """By linear interpolation."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def to_json(quality: Quality) -> dict[str, Any]:
    value = dataclasses.asdict(quality)
    summary = metrics(quality.items)
    return {"kind": "quality", "schema": value.pop("schema"), "summary": summary, **value}


def save(path: Path, quality: Quality) -> None:
    write_json_atomic(path, to_json(quality))


def is_quality(value: Any) -> bool:
    """Whether a JSON document says that it is one."""
    return isinstance(value, dict) and value.get("kind") == "quality"


def load(path: Path) -> Quality:
    """Reads and checks a file; its summary is computed anew."""
    value = read_json_object(path, _CURE)
    if not is_quality(value):
        raise BadInput(f"{path} is no measurement of quality; give a file of `imp-deploy quality`.")
    record.require_schema(value, SCHEMA, str(path), _CURE)
    del value["kind"]
    value.pop("summary", None)
    quality = record.parse(Quality, value, str(path), _CURE)
    for item in quality.items:
        lengths = {len(c) for c in (item.kl, item.agree, item.reference_log_p, item.log_p)}
        if len(lengths) != 1 or lengths == {0}:
            raise BadInput(f"{path}: the columns of {item.id} do not belong together; {_CURE}.")
    if len(quality.items) != quality.task.asked:
        raise BadInput(
            f"{path} holds {len(quality.items)} of {quality.task.asked} questions; {_CURE}."
        )
    return quality
