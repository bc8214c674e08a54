"""The phone's state, and the files that tell of it: written when it is switched on, and again about
twice a second."""

from __future__ import annotations

import contextlib
import math
import os
import time
import uuid
from pathlib import Path

from imp_deploy.bench.virtual import texts
from imp_deploy.bench.virtual.disk import Disk
from imp_deploy.bench.virtual.faults import Active
from imp_deploy.bench.virtual.heat import Heat
from imp_deploy.bench.virtual.kernel_files import KernelFiles
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.bench.virtual.socs import Soc

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SYSTEM_SHARE = 0.45  # of the memory, what Android itself takes on an idle phone
_CPU = "sys/devices/system/cpu"
_ZONES = "sys/devices/virtual/thermal"
_BATTERY = "sys/class/power_supply/battery"
_STATE = "system/etc/virtual"


class World:
    """`root`: the phone's files; `proc`: those that lie over the machine's /proc."""

    def __init__(
        self, settings: Settings, soc: Soc, root: Path, proc: Path, disk: Disk, faults: Active
    ) -> None:
        self._settings = settings
        self._soc = soc
        self._root = root
        self._proc = proc
        self._disk = disk
        self._faults = faults
        self._heat = Heat.at(settings.ambient_celsius)
        self._load = 0.0
        self._resident = 0
        self._spent: dict[int, int] = {}
        self._moment = time.monotonic()
        self._booted = self._moment
        self._reason = "reboot"
        self._put = KernelFiles().put

    def create(self) -> None:
        """All files, for a phone that was just switched on."""
        cpu = self._root / _CPU
        everyone = f"0-{len(self._soc.cores) - 1}"
        for name in ("online", "present", "possible"):
            self._put(cpu / name, everyone)
        for number, core in enumerate(self._soc.cores):
            folder = cpu / f"cpu{number}/cpufreq"
            self._put(folder / "cpuinfo_max_freq", str(core.max_khz))
            self._put(folder / "cpuinfo_min_freq", str(core.min_khz))
            self._put(folder / "scaling_min_freq", str(core.min_khz))
            self._put(folder / "scaling_governor", "walt")
        links = self._root / "sys/class/thermal"
        links.mkdir(parents=True, exist_ok=True)
        for number in range(len(texts.ZONES)):
            link = links / f"thermal_zone{number}"
            if not link.is_symlink():
                link.symlink_to(f"../../devices/virtual/thermal/thermal_zone{number}")
        self._put(self._proc / "cpuinfo", texts.cpuinfo(self._soc))
        self._put(self._proc / "version", "Linux version 6.1.57-android14-11-virtual (imp-deploy)")
        self.rebooted("reboot")

    def rebooted(self, reason: str) -> None:
        self._booted = time.monotonic()
        self._reason = reason
        self._put(self._proc / "sys/kernel/random/boot_id", str(uuid.uuid4()))
        self.write()

    def warm(self, celsius: float) -> None:
        """The air, and everything in the phone, has that temperature now."""
        self._heat = Heat.at(celsius)

    def normal(self) -> None:
        """The air has its usual temperature again; the phone cools down."""
        air = self._settings.ambient_celsius
        self._heat = Heat(air, self._heat.case, self._heat.processor)

    def go_on(self, guests: list[int]) -> None:
        """Time passed: `guests` are the processes that may have used it."""
        now = time.monotonic()
        seconds, self._moment = now - self._moment, now
        spent: dict[int, int] = {}
        self._resident = 0
        for pid in guests:
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{pid}/stat").read_text(errors="replace")
                rest = fields[fields.rindex(")") + 2 :].split()
                spent[pid] = int(rest[11]) + int(rest[12])  # utime and stime, proc(5)
                self._resident += int(rest[21]) * _PAGE
        ticks = sum(max(0, value - self._spent.get(pid, 0)) for pid, value in spent.items())
        self._spent = spent
        rate = ticks / _TICKS / max(seconds, 0.01)
        self._load = min(1.0, rate / (os.cpu_count() or 1))
        self._heat = self._heat.after(seconds, self._load)
        self.write()

    def write(self) -> None:
        self._write_clocks()
        heat = self._heat
        allowed = 0o000 if "thermal-unreadable" in self._faults else 0o444
        for number, zone in enumerate(texts.ZONES):
            folder = self._root / f"{_ZONES}/thermal_zone{number}"
            self._put(folder / "temp", str(round(1000 * texts.celsius(zone, heat))), allowed)
            self._put(folder / "type", zone, allowed)
        percent = self._faults.get("battery") or self._settings.battery_percent
        power = texts.Power(
            percent=int(percent),
            charging="charging" in self._faults,
            saver="battery-saver" in self._faults,
            screen_on="screen-off" not in self._faults,
        )
        for name, value in texts.battery_files(power, heat).items():
            self._put(self._root / _BATTERY / name, value, allowed)
        self._write_services(power)
        self._write_proc()

    def _write_clocks(self) -> None:
        share = self._heat.clock_share
        fastest = sorted(range(len(self._soc.cores)), key=lambda n: -self._soc.cores[n].max_khz)
        busy = set(fastest[: math.ceil(self._load * len(fastest) - 0.3)])
        for number, core in enumerate(self._soc.cores):
            limit = max(core.min_khz, int(core.max_khz * share) // 19200 * 19200)
            limit = core.max_khz if share == 1 else limit
            folder = self._root / f"{_CPU}/cpu{number}/cpufreq"
            self._put(folder / "scaling_max_freq", str(limit))
            self._put(folder / "scaling_cur_freq", str(limit if number in busy else core.min_khz))

    def _write_services(self, power: texts.Power) -> None:
        folder = self._root / _STATE
        self._put(folder / "battery", texts.battery(power, self._heat))
        self._put(folder / "power", texts.power_service(power))
        self._put(folder / "thermalservice", texts.thermal_service(self._soc, self._heat))
        self._put(folder / "low_power", str(int(power.saver)))
        abi = self._faults.get("abi") or "arm64-v8a"
        self._put(folder / "properties", texts.properties(self._soc, abi, self._reason))
        self._put(folder / "clock-offset", self._faults.get("clock-jump") or "0")
        machine = "aarch64" if abi.startswith("arm64") else abi
        self._put(folder / "machine", machine)
        size = self._disk.used if self._disk.held_full else self._disk.size
        self._put(folder / "disk-kib", str(size // 1024))

    def _write_proc(self) -> None:
        total = self._settings.memory_bytes
        available = max(0, int(total * (1 - _SYSTEM_SHARE)) - self._resident)
        self._put(self._proc / "meminfo", texts.meminfo(total, available))
        up = time.monotonic() - self._booted
        self._put(self._proc / "uptime", f"{up:.2f} {up * len(self._soc.cores) / 2:.2f}")
