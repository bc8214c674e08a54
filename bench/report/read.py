"""Finds and reads the result files that a report is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imp_deploy import results
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json
from imp_deploy.results import Result

_KEYS = {"schema", "device", "runner", "bundle", "variant", "protocol", "samples"}
_CURE = "give the result files of `imp-deploy bench`, or the folder that holds them"


@dataclass(frozen=True)
class Loaded:
    path: Path
    result: Result


def read(
    places: Sequence[Path], *, note: Callable[[str], None] | None = None
) -> tuple[Loaded, ...]:
    """Every result in `places`: files, which must be results, and folders, where every `*.json`
    below them that has a result's shape is one. A file that is met twice counts once. A result in a
    folder that has only just begun is left out, and `note` is told, unless nothing else is left.
    Raises `BadInput` for whatever cannot be read, and when there is nothing to report."""
    paths = {path.resolve(): path for place in places for path in _files(place)}
    named = {place.resolve() for place in places}
    found = [Loaded(path, results.load(path)) for path in paths.values()]
    filled = tuple(one for one in found if not _just_begun(one.result))
    for one in found:
        if not _just_begun(one.result):
            continue
        if not filled or one.path.resolve() in named:
            raise BadInput(
                f"{one.path} holds no sample and no failure, so that there is nothing to report; "
                "measure again with `imp-deploy bench`."
            )
        if note is not None:
            note(f"{one.path} holds no sample yet and is left out.")
    return filled


def _files(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        if not place.exists():
            raise BadInput(f"{place} does not exist; {_CURE}.")
        if not _is_result(place):
            raise BadInput(f"{place} is no result of a benchmark; {_CURE}.")
        yield place
        return
    inside = [p for p in sorted(place.rglob("*.json")) if p.is_file() and not _hidden(p, place)]
    found = [p for p in inside if _is_result(p)]
    if not found:
        raise BadInput(f"{place} holds no result of a benchmark; {_CURE}.")
    yield from found


def _hidden(path: Path, place: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(place).parts)


def _is_result(path: Path) -> bool:
    value: Any = read_json(path, _CURE)
    return isinstance(value, dict) and set(value) >= _KEYS


def _just_begun(result: Result) -> bool:
    """`bench` writes the file before the first repetition."""
    return not result.samples and not result.failures
