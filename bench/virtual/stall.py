"""Storage that does not answer any more: files that block whoever opens them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


class Stall:
    """Puts FIFOs into the places of files below `root`. The files wait in `aside`, a folder of the
    same file system, also over a power-off."""

    def __init__(self, root: Path, aside: Path) -> None:
        self._root = root
        self._aside = aside

    def begin(self, files: Sequence[Path]) -> None:
        for path in files:
            kept = self._aside / path.relative_to(self._root)
            kept.parent.mkdir(parents=True, exist_ok=True)
            path.rename(kept)
            os.mkfifo(path)

    def end(self) -> None:
        """Puts the files back. What is blocked already stays so."""
        for kept in [p for p in self._aside.rglob("*") if p.is_file()]:
            path = self._root / kept.relative_to(self._aside)
            if path.parent.is_dir():
                kept.replace(path)
            else:
                kept.unlink()
