"""Files that behave like the kernel's: programs keep them open and read them again and again, so
they are written in place, in one go."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class KernelFiles:
    """Writes only what changed."""

    def __init__(self) -> None:
        self._last: dict[Path, tuple[str, int]] = {}
        self._lock = threading.Lock()

    def put(self, path: Path, text: str, mode: int = 0o444) -> None:
        """`text` is one line or more; its last line end may be left out."""
        with self._lock:
            if self._last.get(path) != (text, mode):
                _write(path, text, mode)
                self._last[path] = (text, mode)


def _write(path: Path, text: str, mode: int) -> None:
    content = (text.removesuffix("\n") + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.chmod(mode | 0o200)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, mode | 0o200)
    try:
        # A shorter text is padded with line ends until the file is cut.
        os.pwrite(handle, content.ljust(os.fstat(handle).st_size, b"\n"), 0)
        os.ftruncate(handle, len(content))
        os.fchmod(handle, mode)
    finally:
        os.close(handle)
