"""A progress display that shows nothing."""

from __future__ import annotations


class Quiet:
    def start(self, phase: str, total: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass
