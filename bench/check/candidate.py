"""Finds the figures of a candidate in the files that the other commands wrote."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

from imp_deploy import bundle, evaluation, quality, results
from imp_deploy.bench.check.figures import (
    KINDS,
    Accuracy,
    Figures,
    Intrinsic,
    Key,
    Kind,
    Size,
    Speed,
    of_bundle,
    of_evaluation,
    of_quality,
    of_result,
)
from imp_deploy.bench.evaluate.answered import answered
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json, sha256_of

_CURE = "give the folder with the bundle and the results of `eval`, `quality` and `bench`"

Figure = TypeVar("Figure", Size, Accuracy, Intrinsic, Speed)


def find(
    place: Path, kinds: Collection[Kind] = KINDS, *, note: Callable[[str], None] | None = None
) -> Figures:
    """The figures of these kinds in every bundle and result in the folder `place`, or in the one
    file that it is; hidden paths and other JSON are passed over. `note` is told about evaluations
    that have no score here. Raises `BadInput` for what cannot be read, for a file that is none of
    these, and for two results of the same thing."""
    sizes: dict[Key, tuple[Path, Size]] = {}
    accuracies: dict[Key, tuple[Path, Accuracy]] = {}
    qualities: dict[Key, tuple[Path, Intrinsic]] = {}
    speeds: dict[Key, tuple[Path, Speed]] = {}
    manifests: dict[str, bundle.Bundle] = {}
    made_of: list[tuple[Path, Any]] = []
    for path, value in _documents(place):
        kind = _kind(path, value)
        if kind is None and path == place:
            raise BadInput(f"{path} is neither a bundle's manifest nor a result; {_CURE}.")
        if kind == "size":
            manifest = _bundle(path)
            manifests[manifest.name] = manifest
            if "size" in kinds:
                for size in of_bundle(manifest):
                    _add(sizes, path, size)
            continue
        if kind not in kinds:
            continue
        if kind == "accuracy" and (accuracy := _accuracy(path, note)) is not None:
            _add(accuracies, path, accuracy)
        elif kind == "quality":
            _add(qualities, path, _quality(path))
        elif kind == "speed":
            _add(speeds, path, of_result(results.load(path)))
        made_of.append((path, value["bundle"]))
    for path, used in made_of:
        _require_same_files(path, used, manifests.get(used["name"]))
    return Figures(
        size=_sorted(sizes),
        accuracy=_sorted(accuracies),
        quality=_sorted(qualities),
        speed=_sorted(speeds),
    )


def _require_same_files(path: Path, used: Any, manifest: bundle.Bundle | None) -> None:
    """A result that a CI job kept from an older bundle says nothing about the one beside it."""
    there = {file.sha256 for file in manifest.files} if manifest is not None else set()
    for file in used["files"]:
        if manifest is not None and file["sha256"] not in there:
            raise BadInput(
                f"{path} is of another {file['path']} than the bundle {manifest.name} beside it "
                "has; evaluate or measure that bundle again."
            )


def _documents(place: Path) -> Iterator[tuple[Path, Any]]:
    if place.is_file():
        yield place, read_json(place, _CURE)
        return
    if not place.is_dir():
        raise BadInput(f"{place} does not exist; {_CURE}.")
    for path in sorted(place.rglob("*.json")):
        hidden = any(part.startswith(".") for part in path.relative_to(place).parts)
        if path.is_file() and not hidden:
            yield path, read_json(path, _CURE)


def _kind(path: Path, value: Any) -> Kind | None:
    """By what the document says; a manifest has no `kind` and is known by its name."""
    if evaluation.is_evaluation(value):
        return "accuracy"
    if quality.is_quality(value):
        return "quality"
    if results.is_result(value):
        return "speed"
    return "size" if path.name == bundle.MANIFEST else None


def _bundle(path: Path) -> bundle.Bundle:
    """The manifest; the files must be there as it says, unless none of them is: then it was kept
    alone, as CI jobs do with large models."""
    read = bundle.read(path)
    there = [file for file in read.files if (path.parent / file.path).is_file()]
    for file in there:
        beside = path.parent / file.path
        if (size := beside.stat().st_size) != file.bytes:
            raise BadInput(
                f"{beside} has {size} bytes and {path} says {file.bytes}; export the bundle again."
            )
    if there and len(there) < len(read.files):
        missing = next(file.path for file in read.files if file not in there)
        raise BadInput(
            f"{path.parent / missing} is missing, and {path} lists it; export the bundle again."
        )
    return read


def _accuracy(path: Path, note: Callable[[str], None] | None) -> Accuracy | None:
    read = evaluation.load(path)
    if read.complete and not read.marks:
        if note is not None:
            note(f"{path} is left out: only a server or a grader can score {read.task.title}.")
        return None
    answers = evaluation.answers_path(path)
    if read.complete and (not answers.is_file() or sha256_of(answers) != read.answers_sha256):
        raise BadInput(
            f"{answers} does not hold the answers that {path.name} is the score of; give them "
            "back, or run `imp-deploy score`, or `imp-deploy eval --force`, again."
        )
    return of_evaluation(read, answered(path, read) or 0)


def _quality(path: Path) -> Intrinsic:
    read = of_quality(quality.load(path))
    if len(read.items) != read.task.asked:
        raise BadInput(
            f"{path} holds a question twice; measure it again with `imp-deploy quality`."
        )
    return read


def _add(found: dict[Key, tuple[Path, Figure]], path: Path, figure: Figure) -> None:
    if figure.key in found:
        raise BadInput(
            f"{found[figure.key][0]} and {path} are both about {figure.subject}; keep the one that "
            "is the candidate's."
        )
    found[figure.key] = (path, figure)


def _sorted(found: dict[Key, tuple[Path, Figure]]) -> tuple[Figure, ...]:
    """In an order that does not depend on the names of files."""
    return tuple(sorted((f for _, f in found.values()), key=lambda f: (f.subject, repr(f.key))))
