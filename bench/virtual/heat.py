"""How warm the phone gets.

A simple model of the first order, with two bodies: the case follows the air around it, and the
processor lies above the case by what it turns into heat. It is made to behave as phones do (quick
rise, slow fall, clocks that go down), not to predict one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

CASE_RISE = 12.0
"""Kelvin above the air at full load, in the end."""
CASE_SECONDS = 30.0
PROCESSOR_RISE = 40.0
"""Kelvin above the case at full load and full clocks."""
PROCESSOR_SECONDS = 3.0
THROTTLE_CELSIUS = 75.0
"""From here on, the clocks go down, by a hundredth per `_KELVIN_PER_PERCENT`."""
_KELVIN_PER_PERCENT = 0.5
_LOWEST_SHARE = 0.4


@dataclass(frozen=True)
class Heat:
    """In degrees Celsius."""

    air: float
    case: float
    processor: float

    @staticmethod
    def at(celsius: float) -> Heat:
        return Heat(celsius, celsius, celsius)

    @property
    def clock_share(self) -> float:
        """What is left of the highest clocks, from 0.4 to 1."""
        above = max(0.0, self.processor - THROTTLE_CELSIUS)
        return max(_LOWEST_SHARE, 1.0 - above / _KELVIN_PER_PERCENT / 100.0)

    def after(self, seconds: float, load: float) -> Heat:
        """`load`: from 0 to 1. Power falls with the square of the clocks."""
        power = load * self.clock_share**2
        case = _towards(self.case, self.air + CASE_RISE * power, seconds / CASE_SECONDS)
        goal = case + PROCESSOR_RISE * power
        processor = _towards(self.processor, goal, seconds / PROCESSOR_SECONDS)
        return replace(self, case=case, processor=processor)


def _towards(value: float, goal: float, time: float) -> float:
    return goal + (value - goal) * math.exp(-time)
