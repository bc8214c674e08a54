"""Writes the demo checkpoint that ships with the package, and pictures to ask it about."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from imp_deploy.demo import scenes
from imp_deploy.errors import BadInput
from imp_deploy.files import full_disk_is_bad_input, write_atomic

_PICTURES = 4


@dataclass(frozen=True)
class WrittenDemo:
    """`examples`: image path, question and right answer."""

    checkpoint: Path
    examples: list[dict[str, str]]


def write_demo(folder: Path, *, force: bool) -> WrittenDemo:
    """Writes the checkpoint into `folder` and the pictures into `folder/images`."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; give a folder for the demo checkpoint.")
    packaged = files("imp_deploy.demo").joinpath("checkpoint")
    contents = {entry.name: entry.read_bytes() for entry in packaged.iterdir()}
    foreign = [
        name
        for name, content in contents.items()
        if (folder / name).exists() and (folder / name).read_bytes() != content
    ]
    if foreign and not force:
        raise BadInput(
            f"{folder} already holds another {sorted(foreign)[0]}; choose another folder, or "
            "overwrite it with --force."
        )
    with full_disk_is_bad_input(folder):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            if not (folder / name).exists() or name in foreign:
                write_atomic(folder / name, content)
        return WrittenDemo(folder, _pictures(folder / "images"))


def _pictures(folder: Path) -> list[dict[str, str]]:
    examples = []
    for number, (index, question) in enumerate(scenes.held_out(_PICTURES)):
        path = folder / f"scene-{number + 1}.png"
        scenes.draw(scenes.scene_at("test", index)).save(path)
        examples.append({"image": str(path), "question": question.text, "answer": question.answer})
    return examples
