"""Reads the files that a benchmark's authors publish; what does not fit is bad input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from imp_deploy.bench.tasks.task import FilePicture, Question
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json, read_json_object

_CURE = "download it again"

Finder = Callable[[str, str], FilePicture]


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


def line_objects(path: Path) -> list[dict[str, Any]]:
    """The objects of JSON lines, whatever the file's ending."""
    values = _lines(path)
    if not all(isinstance(value, dict) for value in values):
        raise BadInput(f"{path} is no list of objects; {_CURE}.")
    return values


def text(path: Path) -> str:
    """The file's text, which must be UTF-8; a mark at its beginning that says so is dropped."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder where a file should be; {_CURE}.")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{path} is missing; {_CURE}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read ({error}); {_CURE}.") from None


def _lines(path: Path) -> list[Any]:
    values = []
    for number, line in enumerate(text(path).split("\n"), start=1):
        if line.strip():
            try:
                values.append(json.loads(line))
                if "\\ud" in line.lower():  # half of a surrogate pair, as in files.read_json
                    json.dumps(values[-1], ensure_ascii=False).encode()
            except (ValueError, RecursionError) as error:
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


def split_of(asked: str | None, there: Sequence[str], where: Path) -> str:
    """The split to read: `asked`, or else the first of those that `where` holds."""
    if asked is not None and asked not in there:
        raise BadInput(
            f"{where} has no split {asked!r}; give --split one of {', '.join(there)}, or --data "
            "another folder."
        )
    return there[0] if asked is None else asked


def document(path: Path) -> dict[str, Any]:
    """The JSON object in the file `path`."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder where a file should be; {_CURE}.")
    return read_json_object(path, _CURE)


def keyed(path: Path) -> dict[str, dict[str, Any]]:
    """A JSON object of objects, in which no key may stand twice (`json` would take the last)."""
    values = document(path)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            doubled = next(key for key in keys if keys.count(key) > 1)
            raise BadInput(f"{path} holds {doubled} twice; {_CURE}.")
        return found

    json.loads(path.read_bytes(), object_pairs_hook=unique)
    if not all(isinstance(entry, dict) for entry in values.values()):
        raise BadInput(f"{path} is no object of objects; {_CURE}.")
    return values


def part(entry: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """`entry[key]`, which must be a list of objects."""
    found: list[dict[str, Any]] = value(entry, key, list, where)
    if not all(isinstance(item, dict) for item in found):
        raise BadInput(f"{where}: `{key}` is no list of objects; {_CURE}.")
    return found


def chosen_split(
    data: Path, asked: str | None, there: Sequence[str], known: Sequence[str], looked_for: str
) -> str:
    """The split to read: `asked`, or the only one of which there are files. `there` and `known` in
    order; `looked_for` names the files in the error."""
    if asked is not None and asked not in known:
        raise BadInput(f"There is no split {asked!r}; give --split one of {', '.join(known)}.")
    if asked is not None:
        return asked
    if not there:
        raise BadInput(
            f"{data} holds no questions (looked for {looked_for}); download them there, or give "
            "--data another folder."
        )
    if len(there) > 1:
        raise BadInput(f"{data} holds the splits {', '.join(there)}; choose one with --split.")
    return there[0]


def pictures(data: Path, folders: Sequence[str]) -> Finder:
    """Finds pictures like `picture`, by name and where they are asked about, but lists the folders
    once: for benchmarks with more questions than one wants to ask the file system about."""
    inside = {folder: _files(data / folder) for folder in folders}
    found: dict[str, FilePicture] = {}

    def find(name: str, where: str) -> FilePicture:
        if name not in found:
            place = next((folder for folder in folders if name in inside[folder]), None)
            if place is None:
                raise BadInput(
                    f"{where} asks about the image {name}, which is not in {data} (looked in "
                    f"{', '.join(folders)}); put the images there."
                )
            key = name if place == "." else f"{place}/{name}"
            found[name] = FilePicture(key, data / key)
        return found[name]

    return find


def _files(folder: Path) -> frozenset[str]:
    if not folder.is_dir():
        return frozenset()
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError as error:
        raise BadInput(f"{folder} cannot be read ({error}); change its rights.") from None


def same_ids(path: Path, ids: Collection[str], other: Path, others: Collection[str]) -> None:
    """Both files must speak of the same questions."""
    for one, its, two, theirs in ((path, ids, other, others), (other, others, path, ids)):
        if extra := sorted(set(its) - set(theirs)):
            shown = ", ".join(extra[:3]) + (", ..." if len(extra) > 3 else "")
            raise BadInput(
                f"{one} speaks of {len(extra)} question(s) that are not in {two} ({shown}): they "
                "are not of the same split or version; download both again."
            )


def ten_answers(entry: dict[str, Any], where: str) -> list[str]:
    """The answers of the ten people whom VQAv2 and VizWiz asked."""
    answers = [item.get("answer") for item in part(entry, "answers", where)]
    return ten_texts(answers, where)


def ten_texts(answers: Sequence[Any], where: str) -> list[str]:
    if not all(isinstance(answer, str) for answer in answers):
        raise BadInput(f"{where} has an answer that is no text; {_CURE}.")
    if len(answers) != 10:
        raise BadInput(f"{where} has {len(answers)} answers and not 10; {_CURE}.")
    return list(answers)
