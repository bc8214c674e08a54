"""A device that is connected to again when the way to it breaks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from imp_deploy.bench.device import Device, LinkLost

T = TypeVar("T")
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0, 15.0)  # a phone restarts in a minute


@dataclass(frozen=True)
class Session:
    """`say` is told about breaks: cables drop, adb servers are restarted, phones reboot."""

    device: Device
    say: Callable[[str], None]

    @property
    def name(self) -> str:
        return self.device.name

    def call(self, action: Callable[[Device], T]) -> T:
        """What `action` returns; when the link breaks, it is connected anew for a minute and a half
        and `action` is called again, so it must bear repetition. Raises `LinkLost` when the device
        does not come back."""
        broken: LinkLost | None = None
        for pause in (0.0, *_PAUSES):
            time.sleep(pause)
            try:
                if broken is not None:
                    self.device.reconnect()
                return action(self.device)
            except LinkLost as error:
                if broken is None:
                    self.say(f"The link broke, connecting again: {error}")
                broken = error
        assert broken is not None
        raise broken
