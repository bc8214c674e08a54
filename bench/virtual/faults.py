"""Everything that the phone can be told to do wrong, in one table."""

from __future__ import annotations

import math
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from imp_deploy.errors import BadInput


def _nothing(text: str) -> str:
    if text:
        raise ValueError("takes no value")
    return text


def _count(text: str) -> str:
    if int(text) < 1:
        raise ValueError("below 1")
    return text


def _number(text: str) -> str:
    if not math.isfinite(float(text)):
        raise ValueError("not finite")
    return text


def _seconds(text: str) -> str:
    return _number(text or "1")


def _percent(text: str) -> str:
    if not 0 <= int(text) <= 100:
        raise ValueError("not from 0 to 100")
    return text


def _signal(text: str) -> str:
    number, _, seconds = (text or "9").partition("@")
    value = int(number) if number.isdigit() else getattr(signal.Signals, f"SIG{number}").value
    signal.Signals(value)
    return f"{value}@{_seconds(seconds)}"


def _reason(text: str) -> str:
    reason, _, seconds = text.partition("@")
    return f"{reason or 'reboot'}@{_number(seconds or '2')}"


def _text(text: str) -> str:
    if not text:
        raise ValueError("needs a value")
    return text


@dataclass(frozen=True)
class Kind:
    """`value`: how the help names it, "" for none. `check` gives the value in full or raises
    ValueError. `once`: happens, and is over."""

    value: str
    help: str
    check: Callable[[str], str]
    once: bool = False


FAULTS: dict[str, Kind] = {
    "drop": Kind("", "break every connection off, now", _nothing, once=True),
    "drop-after": Kind("BYTES", "break the link after that many bytes from the host", _count),
    "drop-after-sent": Kind("BYTES", "break the link after that many bytes to the host", _count),
    "slow": Kind("BYTES", "at most that many bytes per second, each way", _count),
    "refuse-auth": Kind("", "the person at the phone does not accept the RSA key", _nothing),
    "offline": Kind("", "connections open and nothing answers", _nothing),
    "no-shell-v2": Kind("", "an old shell: one stream, no exit status", _nothing),
    "crlf": Kind("", "the shell ends its lines with CR LF", _nothing),
    "noise": Kind("", "linker warnings before what a command prints", _nothing),
    "disk-full": Kind("", "nothing more fits on the disk", _nothing),
    "kill": Kind(
        "SIGNAL[@SECONDS]", "end the next ARM program (no `--plan`) so long after it began", _signal
    ),
    "kill-job": Kind("[SECONDS]", "the same, with the shell that started it, by SIGKILL", _seconds),
    "hang": Kind("PATH", "reading the stored file (or files: a pattern) never ends", _text),
    "reboot": Kind("[REASON][@SECONDS]", "reboot, and be away so long", _reason, once=True),
    "hot": Kind("CELSIUS", "it is so hot around the phone, and in it, from now on", _number),
    "thermal-unreadable": Kind("", "thermal zones and battery: permission denied", _nothing),
    "battery": Kind("PERCENT", "the battery's charge", _percent),
    "charging": Kind("", "a charger is plugged in", _nothing),
    "battery-saver": Kind("", "battery saver is on", _nothing),
    "screen-off": Kind("", "the screen is off", _nothing),
    "abi": Kind("NAME", "the phone says that its ABI is this one", _text),
    "damage": Kind("PATH", "flip a bit of the stored file (or files: a pattern)", _text, once=True),
    "clock-jump": Kind("SECONDS", "the time of day is so far off", _number),
}


@dataclass(frozen=True)
class Fault:
    name: str
    value: str


def parse(text: str) -> Fault:
    """`NAME` or `NAME=VALUE`; `BadInput` for what is no fault."""
    name, _, value = text.partition("=")
    kind = FAULTS.get(name)
    if kind is None:
        raise BadInput(f"{name!r} is no fault of the virtual phone; it has {', '.join(FAULTS)}.")
    try:
        return Fault(name, kind.check(value))
    except (ValueError, AttributeError):
        form = f"{name}={kind.value}" if kind.value else name
        raise BadInput(f"The fault {text!r} is not of the form {form} ({kind.help}).") from None


class Active:
    """The faults of the moment."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._values[fault.name] = fault.value

    def remove(self, name: str) -> bool:
        """Whether it was there; of several callers, one gets True."""
        with self._lock:
            return self._values.pop(name, None) is not None

    def names(self) -> list[str]:
        return list(self._values)

    def spend(self, name: str, count: int) -> bool:
        """Takes `count` from a fault's budget; True for the caller that used it up."""
        with self._lock:
            value = self._values.get(name)
            if value is None:
                return False
            left = int(value) - count
            if left > 0:
                self._values[name] = str(left)
                return False
            del self._values[name]
            return True


def with_seconds(value: str) -> tuple[str, float]:
    """`WHAT@SECONDS` in its parts."""
    found = re.fullmatch(r"(.*)@([^@]*)", value)
    assert found is not None
    return found[1], float(found[2])
