"""The file of a baseline: every figure that a candidate is compared with, and small enough to
commit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from imp_deploy import record, results
from imp_deploy.bench.check.figures import KINDS, Figures, Kind
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object, write_atomic

SCHEMA = 1

_CURE = "write it again with `imp-deploy check CANDIDATE --baseline FILE --update`"
_WIDTH = 100
_EMPTY = "give the folder with the bundle and the results of `eval`, `quality` and `bench`."


def load(path: Path) -> Figures:
    """Reads and checks a baseline."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder; give --baseline a file.")
    value = read_json_object(path, _CURE)
    if value.get("kind") != "baseline":
        raise BadInput(f"{path} is no baseline; give a file that `check --update` wrote.")
    record.require_schema(value, SCHEMA, str(path), _CURE)
    del value["kind"], value["schema"]
    figures = record.parse(Figures, value, str(path), _CURE)
    for problem in _problems(figures):
        raise BadInput(f"{path}: {problem}; {_CURE}.")
    return figures


def _problems(figures: Figures) -> Iterator[str]:
    for kind in KINDS:
        keys = [each.key for each in getattr(figures, kind)]
        if len(set(keys)) < len(keys):
            yield f"two figures of {kind} are about the same thing"
    for size in figures.size:
        if size.bytes <= 0 or (size.role == "vision") != (size.resolution is not None):
            yield f"the size of {size.subject} cannot be"
    for accuracy in figures.accuracy:
        if not accuracy.complete or len(accuracy.marks) != accuracy.task.asked:
            yield f"{accuracy.subject} is not complete"
        if any(not 0 <= mark <= 1 for mark in accuracy.marks.values()):
            yield f"{accuracy.subject} has marks that are not between 0 and 1"
    for quality in figures.quality:
        if not quality.items or len(quality.items) != quality.task.asked:
            yield f"{quality.subject} is not complete"
        for name, item in quality.items.items():
            lengths = {len(item.kl), len(item.agree), len(item.lost)}
            if (
                len(lengths) > 1
                or lengths == {0}
                or len(item.cosine) != 2
                or {*item.agree} - {*"01"}
            ):
                yield f"the columns of {quality.subject}, {name}, do not belong together"
    for speed in figures.speed:
        counts = {len(values) for values in speed.samples.values()}
        whole = set(speed.samples) == set(results.METRICS) and len(counts) == 1 and 0 not in counts
        if not whole or not speed.complete:
            yield f"the samples of {speed.subject} are not complete"
        if any(v < 0 for values in speed.samples.values() for v in values):
            yield f"{speed.subject} has samples below 0"


def update(path: Path, candidate: Figures, kinds: Collection[Kind] = KINDS) -> Figures:
    """Writes the candidate's figures of these kinds as the baseline; figures of other kinds stay
    as they were. Raises `BadInput` for a candidate that is not complete, or empty."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder; give --baseline a file.")
    if not path.parent.is_dir():
        raise BadInput(f"{path.parent} is no folder; create it, or give --baseline another place.")
    if path.exists() and not _was_a_baseline(path):
        raise BadInput(f"{path} is no baseline and stays as it is; give --baseline another place.")
    if not any(getattr(candidate, kind) for kind in kinds):
        raise BadInput("The candidate holds no figure to write; " + _EMPTY)
    for accuracy in candidate.accuracy:
        if not accuracy.complete:
            raise BadInput(
                f"{accuracy.subject} answered {accuracy.answered} of {accuracy.task.asked} "
                "questions, which is no baseline; run `imp-deploy eval` again, it goes on."
            )
    for speed in candidate.speed:
        if not speed.complete:
            raise BadInput(
                f"{speed.subject} lacks repetitions, which is no baseline; run `imp-deploy bench` "
                "again, it goes on."
            )
    kept = load(path) if path.exists() and len(set(kinds)) < len(KINDS) else Figures()
    if path.exists() and len(set(kinds)) == len(KINDS):
        _lose_nothing(path, candidate)
    figures = dataclasses.replace(kept, **{kind: getattr(candidate, kind) for kind in kinds})
    write_atomic(path, render(figures).encode())
    return figures


def _lose_nothing(path: Path, candidate: Figures) -> None:
    """A kind that the old baseline has shall not vanish because a command was forgotten."""
    try:
        old = load(path)
    except BadInput:  # damaged, or of another schema: that is what --update is for
        return
    lost = [kind for kind in KINDS if getattr(old, kind) and not getattr(candidate, kind)]
    if lost:
        raise BadInput(
            f"{path} holds {' and '.join(lost)}, and the candidate has none of it; measure that "
            "too, update the other kinds with --only, or remove the file to begin anew."
        )


def _was_a_baseline(path: Path) -> bool:
    """Whether it began as one, of whatever schema and however it ended."""
    try:
        with path.open("rb") as file:
            return b'"kind": "baseline"' in (start := file.read(64)) or start.strip() == b""
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); check its rights.") from None


def render(figures: Figures) -> str:
    """As JSON whose every part is on one line where it fits, so that a changed mark is a changed
    line."""
    value = {"kind": "baseline", "schema": SCHEMA, **dataclasses.asdict(figures)}
    for accuracy in value["accuracy"]:
        marks = accuracy["marks"].items()
        accuracy["marks"] = {k: int(mark) if mark in (0, 1) else mark for k, mark in marks}
    return _render(value, 0) + "\n"


def _render(value: Any, depth: int) -> str:
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list | tuple) or len(short) + depth < _WIDTH:
        return short
    if isinstance(value, dict):
        keys = (json.dumps(key, ensure_ascii=False) for key in value)
        parts = [f"{k}: {_render(v, depth + 1)}" for k, v in zip(keys, value.values(), strict=True)]
        opening, closing = "{}"
    else:
        parts = [_render(v, depth + 1) for v in value]
        opening, closing = "[]"
    inside = (",\n" + " " * (depth + 1)).join(parts)
    return f"{opening}\n{' ' * (depth + 1)}{inside}\n{' ' * depth}{closing}"
