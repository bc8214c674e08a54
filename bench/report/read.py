"""Finds and reads the files that a report is made of: results of `bench`, `eval` and `quality`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imp_deploy import evaluation, quality, results
from imp_deploy.errors import BadInput
from imp_deploy.evaluation import Evaluation
from imp_deploy.files import read_json
from imp_deploy.quality import Quality
from imp_deploy.results import Result

_CURE = (
    "give the result files of `imp-deploy bench`, `imp-deploy eval` or `imp-deploy quality`, or "
    "the folder that holds them"
)
_Kind = Literal["result", "evaluation", "quality"]


@dataclass(frozen=True)
class Loaded:
    path: Path
    result: Result


@dataclass(frozen=True)
class Found:
    """Everything that was read, by what it is; evaluations and qualities with their files."""

    results: tuple[Loaded, ...]
    evaluations: tuple[tuple[Path, Evaluation], ...]
    qualities: tuple[tuple[Path, Quality], ...]


def read(places: Sequence[Path], *, note: Callable[[str], None] | None = None) -> Found:
    """Everything in `places`: files, which must be results, evaluations or measurements of quality,
    and folders, where every `*.json` below them that has the shape of one is one. A file that is
    met twice counts once. A result in a folder that has only just begun is left out, and `note` is
    told, unless nothing else is left. Raises `BadInput` for whatever cannot be read, and when there
    is nothing to report."""
    paths = {path.resolve(): (path, kind) for place in places for path, kind in _files(place)}
    named = {place.resolve() for place in places}
    kinds: dict[_Kind, list[Path]] = {"result": [], "evaluation": [], "quality": []}
    for path, kind in paths.values():
        kinds[kind].append(path)
    evaluations = tuple((path, evaluation.load(path)) for path in kinds["evaluation"])
    qualities = tuple((path, quality.load(path)) for path in kinds["quality"])
    loaded = [Loaded(path, results.load(path)) for path in kinds["result"]]
    filled = tuple(one for one in loaded if not _just_begun(one.result))
    for one in loaded:
        if not _just_begun(one.result):
            continue
        if not (filled or evaluations or qualities) or one.path.resolve() in named:
            raise BadInput(
                f"{one.path} holds no sample and no failure, so that there is nothing to report; "
                "measure again with `imp-deploy bench`."
            )
        if note is not None:
            note(f"{one.path} holds no sample yet and is left out.")
    return Found(filled, evaluations, qualities)


def _files(place: Path) -> Iterator[tuple[Path, _Kind]]:
    if not place.is_dir():
        if not place.exists():
            raise BadInput(f"{place} does not exist; {_CURE}.")
        kind = _kind(place)
        if kind is None:
            raise BadInput(f"{place} is no result of a benchmark; {_CURE}.")
        yield place, kind
        return
    inside = [p for p in sorted(place.rglob("*.json")) if p.is_file() and not _hidden(p, place)]
    found = [(p, kind) for p in inside if (kind := _kind(p)) is not None]
    if not found:
        raise BadInput(f"{place} holds no result of a benchmark; {_CURE}.")
    yield from found


def _hidden(path: Path, place: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(place).parts)


def _kind(path: Path) -> _Kind | None:
    value: Any = read_json(path, _CURE)
    if evaluation.is_evaluation(value):
        return "evaluation"
    if quality.is_quality(value):
        return "quality"
    return "result" if results.is_result(value) else None


def _just_begun(result: Result) -> bool:
    """`bench` writes the file before the first repetition."""
    return not result.samples and not result.failures
