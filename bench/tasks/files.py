"""Reads the files that a benchmark's authors publish; what does not fit is bad input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from imp_deploy.bench.tasks.task import FilePicture, Question
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json

_CURE = "download it again"


def folder(data: Path) -> Path:
    """`data`, which must be a folder."""
    if not data.exists():
        raise BadInput(f"{data} does not exist; give --data the folder with the benchmark's files.")
    if not data.is_dir():
        raise BadInput(f"{data} is a file; give --data the folder with the benchmark's files.")
    return data


def first(data: Path, names: Sequence[str], what: str) -> Path:
    """The first of the relative paths `names` that is there; `what` names it in the error."""
    found = optional(data, names)
    if found is None:
        raise BadInput(
            f"{data} holds no {what} (looked for {', '.join(names)}); download it there, or give "
            "--data another folder."
        )
    return found


def optional(data: Path, names: Sequence[str]) -> Path | None:
    return next((data / name for name in names if (data / name).exists()), None)


def objects(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON list, or of JSON lines (by the file's ending)."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder where a file should be; {_CURE}.")
    values = _lines(path) if path.suffix == ".jsonl" else read_json(path)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise BadInput(f"{path} is no list of objects; {_CURE}.")
    return values


def _lines(path: Path) -> list[Any]:
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read ({error}); {_CURE}.") from None
    values = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except ValueError as error:
                raise BadInput(f"{path}, line {number} is no JSON ({error}); {_CURE}.") from None
    return values


def value(entry: dict[str, Any], key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """`entry[key]`, which must be of `kind`."""
    found = entry.get(key)
    if not isinstance(found, kind) or isinstance(found, bool):
        raise BadInput(f"{where} has no usable `{key}`; {_CURE}.")
    return found


def picture(data: Path, folders: Iterable[str], name: str, where: str) -> FilePicture:
    """The picture `name` in the first of `folders` (relative to `data`) that has it."""
    folders = tuple(folders)
    for inside in folders:
        path = data / inside / name
        if path.is_file():
            return FilePicture(path.relative_to(data).as_posix(), path)
    raise BadInput(
        f"{where} asks about the image {name}, which is not in {data} (looked in "
        f"{', '.join(folders)}); put the images there."
    )


def checked(questions: Iterable[Question], path: Path) -> tuple[Question, ...]:
    """All of `questions`, of which there must be some, no two of the same id."""
    found: dict[str, Question] = {}
    for question in questions:
        if question.id in found:
            raise BadInput(f"{path} holds the question {question.id} twice; {_CURE}.")
        found[question.id] = question
    if not found:
        raise BadInput(f"{path} holds no question; {_CURE}.")
    return tuple(found.values())
