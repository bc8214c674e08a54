"""One program at a time writes to the files on a device.

The lock is a file on the device with its owner's name. An owner that was killed cannot take it
away, so others ask whether it still lives: on the same machine its process tells; for another
machine's, nothing that it writes has changed for a minute (by the change time, which is always by
the device's clock: the other time of a pushed file is by its host's). Should both judge wrongly, no
file gets damaged under its final name: it is hashed before it gets it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from imp_deploy.bench.device import Device
from imp_deploy.bench.disk import full_disk_message, is_full
from imp_deploy.errors import DeviceError

NAME = "deploy.lock"
SILENT_SECONDS = 60
"""A push writes all the time, copying a piece takes seconds, and `meanwhile` keeps the lock young
while something reads for longer."""

_TOUCH_SECONDS = 15

_POLL_SECONDS = 1.0
_STEALS = 3


_held: set[str] = set()
"""The locks that this process holds: it cannot ask itself whether it lives."""


class Lock:
    """The lock of a device's files, for one owner."""

    def __init__(self, device: Device, say: Callable[[str], None]) -> None:
        self._device = device
        self._say = say
        process = os.getpid()
        self._owner = f"{_machine()} {process} {_began(process)} {secrets.token_hex(8)}"

    def take(self) -> None:
        """Waits while another program that lives holds it. When the connection breaks, this may be
        called again."""
        _held.add(self._owner)
        _take(self._device, self._owner, self._say)

    def release(self) -> None:
        _held.discard(self._owner)
        lock = shlex.quote(f"{self._device.root}/{NAME}")
        with contextlib.suppress(DeviceError):  # then it is found to have no owner
            self._device.shell(f'[ "$(cat {lock})" = {shlex.quote(self._owner)} ] && rm -f {lock}')


def holder(device: Device) -> str | None:
    """The owner of the lock, if there is one that lives."""
    output = device.shell(f"cd {shlex.quote(device.root)} 2>/dev/null || exit 0\n{_STATE}")
    owner, silent = _parse(output.text)
    return owner if owner is not None and _alive(owner, silent) else None


def meanwhile(command: str, *, lock: str, seconds: float) -> str:
    """Shell text that runs `command`, one that is silent for up to so many seconds, and says as
    long that the owner of the file `lock` lives. The status is that of `command`, which may set
    variables. The other process ends when the shell was killed, as by a connection that broke."""
    times = int(seconds / _TOUCH_SECONDS) + 1
    return (
        f"(trap 'kill $s; exit' TERM; i=0\n"
        f"while [ $i -lt {times} ] && kill -0 $$; do i=$((i+1)); touch -c {shlex.quote(lock)}\n"
        f"sleep {_TOUCH_SECONDS} & s=$!; wait $s; done) >/dev/null 2>&1 & young=$!\n"
        f"{command}\n"
        "set -- $?; kill $young 2>/dev/null; (exit $1)"
    )


# A clock that was set back makes everything seem to be of later: from now on it counts again.
_STATE = (
    f"[ -e {NAME} ] || exit 0; now=$(date +%s); new=0\n"
    f"for t in $(stat -c %Z {NAME} files/*.piece files/*.partial 2>/dev/null); do\n"
    "[ $t -gt $new ] && new=$t; done\n"
    f"[ $new -gt $now ] && touch -c {NAME} files/*.piece files/*.partial 2>/dev/null\n"
    f'echo "held $((now - new)) $(cat {NAME})"'
)


def _take(device: Device, owner: str, say: Callable[[str], None]) -> None:
    root = shlex.quote(device.root)
    steals = 0
    told = False
    while True:
        output = device.shell(
            f"mkdir -p {root}/files && cd {root} || exit 1\n"
            f"(set -C; echo {shlex.quote(owner)} > {NAME}) 2>/dev/null && echo taken && exit 0\n"
            f"{_STATE}"
        )
        found, silent = _parse(output.text)
        if output.text.strip() == "taken" or found == owner:
            return
        if output.status != 0 or (found is not None and steals > _STEALS):
            if is_full(output.text):
                raise DeviceError(full_disk_message(device, device.root, output.text))
            raise DeviceError(
                f"{device.name}: {device.root} cannot be written; {output.evidence()}"
            )
        if found is not None and not _alive(found, silent):
            steals += 1
            device.shell(
                f'cd {root} && [ "$(cat {NAME})" = {shlex.quote(found)} ] && '
                f"mv {NAME} {NAME}.old && rm -f {NAME}.old"
            )
        elif found is not None:
            if not told:
                say(f"{device.name}: another imp-deploy brings files there; waiting for it.")
                told = True
            time.sleep(_POLL_SECONDS)


def _parse(text: str) -> tuple[str | None, int]:
    """Owner ("" when it has not written its name yet), and seconds since it last wrote; negative
    when the clock was set back since."""
    match = re.fullmatch(r"held (-?\d+) ?(.*)", text.strip())
    return (match[2], int(match[1])) if match else (None, 0)


def _alive(owner: str, silent: int) -> bool:
    machine, process, began = ([*owner.split(), "", "", ""])[:3]
    if machine == _machine() and process.isdigit():
        if int(process) == os.getpid():
            return owner in _held
        return _began(int(process)) == began != ""
    return silent < SILENT_SECONDS


def _machine() -> str:
    """This boot of this machine, and the space that its process numbers count in."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{uuid.getnode():x}"


def _began(process: int) -> str:
    """When a process of this machine started; "" when there is none with this number."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"
