"""The smallest checkpoints, for tests of many cases, and what every refusal has in common."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from imp_deploy.convert.export import Exported, export
from imp_deploy.convert.model import read_model
from imp_deploy.convert.plan import Options
from imp_deploy.errors import BadInput
from tests.checkpoints import Sizes, make_checkpoint
from tests.quiet import Quiet

SMALL = Sizes(
    hidden=64,
    layers=1,
    heads=2,
    inner=96,
    rotary=8,
    vision_hidden=32,
    vision_inner=40,
    vision_layers=2,
    vision_heads=2,
)
SIDE = 56  # pixels; 4 x 4 visual tokens
CURES = (
    "download",
    "check",
    "give",
    "choose",
    "save",
    "saved",
    "export",
    "remove",
    "use",
    "free",
    "ask",
    "put",
    "merge",
    "leave",
    "copy",
    "scale",
    "wait",
    "finish",
)


def small_checkpoint(out: Path, **options: Any) -> Path:
    """`make_checkpoint` with the smallest sizes: Phi-2 in the hub's naming, if nothing is said."""
    chosen = {"family": "phi2", "naming": "hub", "sizes": SMALL, "image_size": SIDE, **options}
    return make_checkpoint(out, **chosen)


def run_export(
    checkpoint: Path, out: Path, *, force: bool = False, tower: Path | None = None, **options: Any
) -> Exported:
    """`export` without a progress bar, always under the name Imp."""
    chosen = Options(**{"name": "Imp", **options})
    return export(checkpoint, out, chosen, tower=tower, force=force, progress=Quiet())


def refused(checkpoint: Path, out: Path, *parts: str, **options: Any) -> str:
    """Exports and expects bad input: one line that holds `parts` and a cure, and no file that looks
    finished. Returns the message."""
    with pytest.raises(BadInput) as caught:
        run_export(checkpoint, out, **options)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert one_sentence(message), message
    assert [part for part in parts if part not in message] == [], message
    assert finished_files(out) == []
    return message


def complaint(checkpoint: Path) -> str:
    """What is wrong with the checkpoint, in a sentence; empty if it can be read."""
    try:
        read_model(checkpoint, None, None)
    except BadInput as error:
        return str(error)
    return ""


def one_sentence(message: str) -> bool:
    """One line that ends in a full stop, and says what to do."""
    cure = any(f" {word} " in f" {message.rstrip('.')} " for word in CURES)
    return "\n" not in message and message.endswith(".") and cure


def finished_files(out: Path) -> list[str]:
    """What a user sees in the folder: everything but hidden work in progress."""
    names = [p.name for p in out.iterdir()] if out.is_dir() else []
    return sorted(name for name in names if not name.startswith("."))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in the folder, the hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text("utf-8"))
    change(value)
    path.write_text(json.dumps(value), "utf-8")


def edit_weights(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the arrays of a safetensors file; a name that is removed is gone."""
    tensors = {name: np.array(value) for name, value in load_file(path).items()}
    change(tensors)
    path.unlink()
    save_file(tensors, path, metadata={"format": "pt"})


def copied(checkpoint: Path, place: Path) -> Path:
    shutil.copytree(checkpoint, place, symlinks=True)
    return place
