"""What long work tells whoever shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A named phase of `total` steps (bytes, where the caller says so), then how many were done."""

    def start(self, phase: str, total: int) -> None: ...
    def advance(self, count: int) -> None: ...


class Stages(Progress, Protocol):
    """Progress whose present step can be named."""

    def describe(self, text: str) -> None: ...


class Unseen:
    """Progress that nobody watches."""

    def start(self, phase: str, total: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def describe(self, text: str) -> None:
        pass
