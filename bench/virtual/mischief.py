"""Makes the faults happen: at once, or to the programs that run."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

from imp_deploy.bench.virtual import faults
from imp_deploy.bench.virtual.disk import Disk
from imp_deploy.bench.virtual.faults import FAULTS, Active, Fault
from imp_deploy.bench.virtual.machine import Machine, strike
from imp_deploy.bench.virtual.phone import Phone
from imp_deploy.bench.virtual.stall import Stall
from imp_deploy.bench.virtual.world import World
from imp_deploy.errors import BadInput

_TO_PROGRAMS = ("kill", "kill-job")
_CUTTING = ("offline", "refuse-auth")


class Mischief:
    def __init__(
        self, machine: Machine, phone: Phone, world: World, disk: Disk, active: Active
    ) -> None:
        self._machine = machine
        self._phone = phone
        self._world = world
        self._disk = disk
        self._active = active
        self._limited = False
        self._stall = Stall(machine.root, machine.aside)
        self._stall.end()  # of a phone that was switched off in the middle of it

    def inject(self, fault: Fault) -> None:
        if fault.name == "drop":
            self._phone.cut()
        elif fault.name == "damage":
            for path in self._stored(fault.value):
                _flip(path)
        elif fault.name == "hang":
            self._stall.begin(self._stored(fault.value))
        elif fault.name == "reboot":
            reason, seconds = faults.with_seconds(fault.value)
            self.reboot(reason, seconds)
        elif fault.name == "hot":
            self._world.warm(float(fault.value))
        if not FAULTS[fault.name].once:
            self._active.add(fault)
        if fault.name in _CUTTING:
            self._phone.cut()
        self._apply()

    def clear(self, name: str | None) -> None:
        if name is not None and name not in FAULTS:
            raise BadInput(f"{name!r} is no fault of the virtual phone.")
        for one in self._active.names() if name is None else [name]:
            if self._active.remove(one) and one == "hot":
                self._world.normal()
            if one == "hang":
                self._stall.end()
        self._apply()

    def _apply(self) -> None:
        self._disk.held_full = "disk-full" in self._active
        self._world.write()
        self.limit_writing(self._machine.guests())

    @property
    def urgent(self) -> bool:
        """Whether `go_on` is to be called often."""
        return any(name in self._active for name in _TO_PROGRAMS)

    def go_on(self, guests: list[int]) -> None:
        self.limit_writing(guests)
        for name in _TO_PROGRAMS:
            value = self._active.get(name)
            if value is not None:
                number, seconds = faults.with_seconds(value if "@" in value else f"@{value}")
                for pid in self._machine.arm_programs(guests, older_than=seconds):
                    if name == "kill" and self._machine.supervises(pid):
                        continue
                    if self._active.remove(name):
                        self._strike(name, pid, number)

    def _strike(self, name: str, pid: int, number: str) -> None:
        if name == "kill":
            strike(pid, int(number))
        else:
            self._machine.kill_family(pid)

    def limit_writing(self, guests: list[int]) -> None:
        """On a full disk, writing fails for the phone's programs: the kernel refuses to let their
        files grow (EFBIG, where a phone says ENOSPC)."""
        full = self._disk.full
        if not full and not self._limited:
            return
        self._limited = full
        for pid in self._machine.without_proot(guests):
            with contextlib.suppress(OSError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0 if full else hard, hard))

    def reboot(self, reason: str, seconds: float) -> None:
        """Everything that runs ends, and the phone is away for so long."""
        self._phone.go_away(seconds)
        self._machine.power_off()
        self._world.rebooted(reason)

    def _stored(self, pattern: str) -> list[Path]:
        """The files that a fault's value names."""
        root = self._machine.root
        files = [p for p in sorted(root.glob(pattern.lstrip("/"))) if p.is_file()]
        files = [p for p in files if p.stat().st_size > 0]
        if not files:
            raise BadInput(f"The virtual phone has no file {pattern} with something in it.")
        return files


def _flip(path: Path) -> None:
    """One bit in the middle; the time of modification stays."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size // 2)
        byte = file.read(1)[0]
        file.seek(before.st_size // 2)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
