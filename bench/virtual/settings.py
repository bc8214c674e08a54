"""What a virtual phone is told when it is switched on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imp_deploy.cache import cache_folder

Consent = Literal["accept", "refuse", "open"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`folder` keeps the phone's disk between starts (None: in the cache folder of imp-deploy).
    `port` 0: a free one. `consent`: what the person at the phone does with an unknown RSA key:
    accepts it (for ever), refuses it, or has the question switched off ("open"). `faults`: as
    `--fault` takes them."""

    folder: Path | None = None
    port: int = 0
    soc: str = "SM8650"
    disk_bytes: int = 64 << 30
    memory_bytes: int = 12 << 30
    battery_percent: int = 80
    ambient_celsius: float = 25.0
    consent: Consent = "accept"
    faults: tuple[str, ...] = ()

    def place(self) -> Path:
        return (self.folder or cache_folder() / "virtual-phone").absolute()
