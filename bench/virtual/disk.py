"""How full the phone's disk is: what lies in /data, against the size that it is said to have."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path


class Disk:
    """Counted by a walk now and then, and by what is added in between."""

    def __init__(self, data: Path, size: int) -> None:
        self._data = data
        self._size = size
        self._used = 0
        self._lock = threading.Lock()
        self.held_full = False

    @property
    def size(self) -> int:
        return self._size

    @property
    def used(self) -> int:
        return self._used

    @property
    def full(self) -> bool:
        return self.held_full or self._used >= self._size

    @property
    def nearly_full(self) -> bool:
        return self.held_full or self._used >= 0.8 * self._size

    def measure(self) -> None:
        used = _used(self._data)
        with self._lock:
            self._used = used

    def take(self, count: int) -> bool:
        """Whether `count` more bytes fit; they are counted then."""
        with self._lock:
            if self.held_full:
                return False
            if self._used + count <= self._size:
                self._used += count
                return True
        self.measure()
        with self._lock:
            if self._used + count > self._size:
                return False
            self._used += count
            return True


def _used(folder: Path) -> int:
    """Bytes that the files below `folder` take, in whole blocks."""
    total = 0
    waiting = [str(folder)]
    while waiting:
        with contextlib.suppress(OSError):
            for entry in os.scandir(waiting.pop()):
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    total += found.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total
