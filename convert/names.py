"""The name of a bundle, which becomes part of file names."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from imp_deploy.errors import BadInput

_LONGEST_NAME = 200  # bytes; file systems end at 255, and the name gets a prefix and an ending


def default_name(folder: Path) -> str:
    """The folder's name, or the repository's where the folder is a snapshot in the hub's cache
    (`models--OWNER--NAME/snapshots/COMMIT`)."""
    place = folder.resolve()
    repository = place.parent.parent.name
    if place.parent.name == "snapshots" and repository.startswith("models--"):
        return check_name(repository.split("--")[-1])
    return check_name(place.name)


def check_name(name: str) -> str:
    """A bundle's name becomes part of file names."""
    wrong = any(c in "/\\" or unicodedata.category(c) in ("Cc", "Cs") for c in name)
    if wrong or not name or name.startswith(".") or len(os.fsencode(name)) > _LONGEST_NAME:
        raise BadInput(
            f"The name {name!r} cannot be part of a file name; choose another one with --name."
        )
    return name
