"""The report as flat records, for CSV and JSON: one for each result of `bench`, then one for each
variant that was evaluated and not timed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from imp_deploy.bench.report import marks, paper
from imp_deploy.bench.report.accuracy import Answer, Column, slug
from imp_deploy.bench.report.contents import Contents
from imp_deploy.bench.report.distance import Distance
from imp_deploy.bench.report.rows import Value, record
from imp_deploy.bench.report.variants import Family, Variant
from imp_deploy.quality import METRICS
from imp_deploy.results import BundleRecord, VariantRecord


def records(contents: Contents) -> list[dict[str, Value]]:
    """All with the same keys, None where there is nothing."""
    distances = {variant.subject: variant.distances for variant in contents.variants}
    found: list[dict[str, Value]] = []
    for group in contents.groups:
        stars = {column: marks.of_group(group, column) for column in contents.columns}
        for number, row in enumerate(group.rows):
            found.append(
                record(row, group.number)
                | _accuracies(
                    contents.columns,
                    row.answers,
                    {column: star[number] for column, star in stars.items()},
                    (row.result.bundle, row.result.variant),
                )
                | _distances(distances.get(row.subject, ()))
            )
    for family, variant in contents.untimed:
        place = family.rows.index(variant)
        best = {
            column: marks.of_variants(family.rows, column)[place] for column in contents.columns
        }
        what = (variant.bundle, variant.variant)
        found.append(
            _named(family, variant)
            | _accuracies(contents.columns, variant.answers, best, what)
            | _distances(variant.distances)
        )
    keys = list(dict.fromkeys(key for each in found for key in each))
    return [{key: each.get(key) for key in keys} for each in found]


def _named(family: Family, row: Variant) -> dict[str, Value]:
    return {
        "group": None,
        "model": row.bundle.name,
        "resolution": row.variant.resolution,
        "bits": row.variant.bits,
        "vision_bits": row.variant.vision_bits,
        "size_bytes": row.size_bytes,
        "weights_sha256": family.weights,
    }


def _accuracies(
    columns: Sequence[Column],
    answers: Sequence[Answer],
    best: dict[Column, bool],
    what: tuple[BundleRecord, VariantRecord],
) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for column in columns:
        answer = column.of(answers)
        score = answer.score if answer else None
        printed = paper.accuracy(*what, column.name) if score else None
        name = f"accuracy_{column.key}"
        task = answer.evaluation.task if answer else None
        found |= {
            name: score.value if score else None,
            f"{name}_low": score.low if score else None,
            f"{name}_high": score.high if score else None,
            f"{name}_asked": task.asked if task else None,
            f"{name}_questions": task.questions if task else None,
            f"{name}_answered": answer.answered if answer else None,
            f"{name}_state": answer.state if answer else None,
            f"{name}_place": answer.place if answer else None,
            f"{name}_pareto": best[column] if score else None,
            f"{name}_paper": printed.value if printed else None,
            f"{name}_file": answer.file if answer else None,
        }
    return found


def _distances(distances: Sequence[Distance]) -> dict[str, Value]:
    """The columns of a task's name; several measurements of one task say by which questions and
    reference they differ."""
    found: dict[str, Value] = {}
    names = [distance.quality.task.name for distance in distances]
    for distance in distances:
        task = distance.quality.task
        name = f"quality_{slug(task.name)}"
        if names.count(task.name) > 1:
            reference = slug(distance.reference.partition("@")[2])
            name += f"_{task.sha256[:8]}_{reference}_{distance.quality.max_tokens}"
        found |= {f"{name}_{metric}": distance.metrics.get(metric) for metric in METRICS}
        found[f"{name}_asked"] = task.asked
        found[f"{name}_reference"] = distance.reference
        found[f"{name}_file"] = distance.file
    return found


def evaluations(answers: Iterable[Answer]) -> list[dict[str, Any]]:
    """Each in full, without its marks."""
    found = []
    for answer in answers:
        value = dataclasses.asdict(answer.evaluation)
        del value["marks"]
        found.append({"file": answer.file, **value, "state": answer.state})
    return found


def qualities(distances: Iterable[Distance]) -> list[dict[str, Any]]:
    """Each in full, without its questions."""
    found = []
    for distance in distances:
        value = dataclasses.asdict(distance.quality)
        del value["items"]
        found.append({"file": distance.file, **value, "summary": distance.metrics})
    return found
