"""Paths of the phone as paths of this machine: links are followed inside the phone's root only."""

from __future__ import annotations

import os
from pathlib import Path

_MOST_LINKS = 40


def on_host(root: Path, path: str, *, follow: bool) -> Path:
    """Where the phone's `path` lies under `root`, there or not; a link in its last part is followed
    when `follow`. `OSError` (ELOOP) for links that lead around in circles."""
    parts = [p for p in reversed(path.split("/")) if p not in ("", ".")]
    inside: list[str] = []
    links = 0
    while parts:
        part = parts.pop()
        if part == "..":
            del inside[-1:]
            continue
        here = root.joinpath(*inside, part)
        if (parts or follow) and here.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise OSError(os.strerror(40))
            target = str(here.readlink())
            if target.startswith("/"):
                inside = []
            parts += [p for p in reversed(target.split("/")) if p not in ("", ".")]
            continue
        inside.append(part)
    return root.joinpath(*inside)
