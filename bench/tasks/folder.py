"""A folder of one's own: pictures, and prompts about them, without right answers."""

from __future__ import annotations

import os
from pathlib import Path

from imp_deploy.bench.tasks import files
from imp_deploy.bench.tasks.task import FilePicture, Loaded, Question, Task
from imp_deploy.errors import BadInput

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_ALL = "prompts.txt"
_EACH = "prompts.jsonl"


def read(data: Path, split: str | None) -> Loaded:
    """Each line of prompts.txt about each picture below the folder, or the entries of
    prompts.jsonl, each of which names its picture."""
    split = files.split_of(split, ("all",), files.folder(data))
    if (data / _ALL).exists() and (data / _EACH).exists():
        raise BadInput(f"{data} holds both {_ALL} and {_EACH}; remove one of them.")
    path = files.first(data, (_ALL, _EACH), "prompts")
    questions = _each(data, path) if path.name == _EACH else _every(data, path)
    return Loaded(split, files.checked(questions, path))


def _every(data: Path, path: Path) -> list[Question]:
    prompts = [line.strip() for line in files.text(path).split("\n") if line.strip()]
    pictures = pictures_in(data)
    if not pictures:
        raise BadInput(
            f"{data} holds no picture ({', '.join(ENDINGS)}); put some there, or give --data "
            "another folder."
        )
    return [
        Question(id=f"{picture.key}#{number}", text=prompt, picture=picture, truth=None)
        for picture in pictures
        for number, prompt in enumerate(prompts, start=1)
    ]


def pictures_in(data: Path) -> list[FilePicture]:
    """All below `data`, in the order of their names; hidden files and folders are left out."""
    found = []
    for folder, inner, names in os.walk(data, onerror=_unreadable):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(ENDINGS):
                path = Path(folder, name)
                found.append(FilePicture(_key(data, path), path))
    return sorted(found, key=lambda picture: picture.key)


def _key(data: Path, path: Path) -> str:
    key = path.relative_to(data).as_posix()
    try:
        key.encode()
    except UnicodeEncodeError:
        raise BadInput(
            f"{data} holds a file with a name that is no UTF-8, {key!a}; rename it."
        ) from None
    return key


def _unreadable(error: OSError) -> None:
    raise BadInput(f"{error.filename} cannot be read ({error.strerror}); change its rights.")


def _each(data: Path, path: Path) -> list[Question]:
    pictures = {picture.key: picture for picture in pictures_in(data)}
    questions = []
    for number, entry in enumerate(files.objects(path), start=1):
        where = f"{path}: entry {number}"
        if unknown := sorted(entry.keys() - {"id", "image", "prompt"}):
            raise BadInput(
                f"{where} has unknown keys {unknown}; give image, prompt and, if you like, id."
            )
        name = files.value(entry, "image", str, where)
        prompt = files.value(entry, "prompt", str, where).strip()
        if not prompt:
            raise BadInput(f"{where} has an empty prompt; write one, or remove the entry.")
        if name not in pictures:
            raise BadInput(
                f"{where} asks about the image {name}, which is no picture in {data}; put it there."
            )
        id = files.value(entry, "id", (str, int), where) if "id" in entry else f"{name}#{number}"
        questions.append(Question(id=str(id), text=prompt, picture=pictures[name], truth=None))
    return questions


TASK = Task(
    name="folder",
    title="Own folder",
    metric="none",
    data="pictures, and prompts.txt (each line about each picture) or prompts.jsonl",
    source="bench/tasks/folder.py",
    max_tokens=128,
    read=read,
    mark=None,
)
