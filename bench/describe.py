"""What a device is and how it is, in as few round trips as possible: a script prints sections, and
plain functions read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from imp_deploy.bench.device import Device
from imp_deploy.errors import DeviceError
from imp_deploy.results import Conditions, Core, DeviceRecord

_SECTION = "@@imp "

_DESCRIBE = f"""
s() {{ echo "{_SECTION}$1"; }}
s props; getprop 2>/dev/null
s cpuinfo; cat /proc/cpuinfo
s clocks; for d in /sys/devices/system/cpu/cpu[0-9]*; do
f=$d/cpufreq/cpuinfo_max_freq; k=0; [ -r $f ] && read k < $f; echo "${{d##*cpu}} $k"; done
s memory; cat /proc/meminfo
s kernel; uname -s; uname -r; uname -m; uname -v
"""

CONDITIONS_SCRIPT = f"""
s() {{ echo "{_SECTION}$1"; }}
command -v dumpsys >/dev/null || exit 0
s power; dumpsys power 2>/dev/null | grep -E 'mWakefulness=|Display Power: state='
s battery; dumpsys battery 2>/dev/null
s saver; settings get global low_power 2>/dev/null
"""


def describe(device: Device) -> DeviceRecord:
    """Who made the device, what is in it, and whether it is an emulated one."""
    return parse_device(device, device.shell(_DESCRIBE).text)


def conditions(device: Device) -> Conditions:
    """Screen, battery and battery saver. `dumpsys` can take seconds on a busy phone."""
    return parse_conditions(device.shell(CONDITIONS_SCRIPT, timeout=60.0).text)


def boot_id(device: Device) -> str:
    """Differs after every boot."""
    output = device.shell("cat /proc/sys/kernel/random/boot_id")
    found = re.fullmatch(r"[0-9a-f-]{36}", output.text.strip())
    if output.status != 0 or found is None:
        raise DeviceError(f"{device.name}: the boot's id cannot be read; {output.evidence()}")
    return found[0]


def big_cores(record: DeviceRecord) -> tuple[int, ...]:
    """The cores to measure on: all but those of the slowest cluster, which the others would wait
    for in every matrix product. All of them if there is one cluster. A core whose clock is unknown
    among others that are known is switched off (hot-unplugged), and nothing can run on it; if all
    are unknown, the device does not tell, and all are taken."""
    known = tuple(core for core in record.cores if core.max_khz) or record.cores
    clocks = {core.max_khz for core in known}
    slowest = min(clocks, default=0)
    return tuple(core.cpu for core in known if len(clocks) < 2 or core.max_khz > slowest)


def cpu_mask(cores: Sequence[int]) -> str:
    """Bit N for core N, hexadecimal without prefix, as `taskset` takes it."""
    return f"{sum(1 << core for core in set(cores)):x}"


def parse_device(device: Device, text: str) -> DeviceRecord:
    """Reads what the script printed; what a device does not tell is "" or 0."""
    parts = sections(text)
    props = parse_props(parts.get("props", ""))
    cpuinfo = parts.get("cpuinfo", "")
    system, release, machine, build = (parts.get("kernel", "").splitlines() + [""] * 4)[:4]
    memory = re.search(r"^MemTotal:\s+(\d+) kB", parts.get("memory", ""), re.MULTILINE)
    android = props.get("ro.build.version.release", "")
    hardware = props.get("ro.hardware", "")
    return DeviceRecord(
        kind=device.kind,
        serial=device.serial,
        manufacturer=props.get("ro.product.manufacturer", ""),
        model=props.get("ro.product.model") or _cpuinfo(cpuinfo, "model name") or machine,
        soc=_first(props, "ro.soc.model", "ro.board.platform", "ro.hardware"),
        abi=props.get("ro.product.cpu.abi") or machine,
        cores=parse_cores(parts.get("clocks", "")),
        features=tuple((_cpuinfo(cpuinfo, "Features") or _cpuinfo(cpuinfo, "flags")).split()),
        memory_bytes=int(memory[1]) * 1024 if memory else 0,
        os=f"Android {android}" if android else f"{system} {release}".strip(),
        fingerprint=props.get("ro.build.fingerprint") or f"{system} {release} {build}".strip(),
        emulated=device.kind == "virtual"
        or "1" in (props.get("ro.kernel.qemu"), props.get("ro.boot.qemu"))
        or hardware in ("ranchu", "goldfish"),
    )


def parse_conditions(text: str) -> Conditions:
    parts = sections(text)
    power, battery = parts.get("power", ""), parts.get("battery", "")
    awake = re.search(r"mWakefulness=(\w+)", power)
    display = re.search(r"Display Power: state=(\w+)", power)
    level = re.search(r"^\s*level:\s*(\d+)", battery, re.MULTILINE)
    saver = parts.get("saver", "").strip()
    return Conditions(
        screen_on=display[1] == "ON" if display else awake[1] == "Awake" if awake else None,
        battery_percent=int(level[1]) if level else None,
        charging=_charging(battery),
        battery_saver={"1": True, "0": False, "null": False}.get(saver),
    )


def _charging(battery: str) -> bool | None:
    """BatteryManager's status: 2 is charging, 1 unknown; a phone that does not tell is asked for
    its plugs."""
    status = re.search(r"^\s*status:\s*(\d+)", battery, re.MULTILINE)
    if status and status[1] != "1":
        return status[1] == "2"
    plugs = re.findall(r"^\s*\w+ powered: (true|false)", battery, re.MULTILINE)
    return "true" in plugs if plugs else None


def sections(text: str) -> dict[str, str]:
    """What the script printed after each of its marks."""
    found: dict[str, str] = {}
    for part in f"\n{text}".split(f"\n{_SECTION}")[1:]:
        name, _, content = part.partition("\n")
        found[name.strip()] = content
    return found


def parse_props(text: str) -> dict[str, str]:
    """`[name]: [value]`, one to a line; a value may have several."""
    return dict(re.findall(r"^\[([^\]\n]+)\]: \[(.*?)\]$", text, re.MULTILINE | re.DOTALL))


def parse_cores(text: str) -> tuple[Core, ...]:
    """`0 2265600`: number and maximum clock in kHz, in the order of the numbers."""
    found = re.findall(r"^(\d+) (\d+)$", text, re.MULTILINE)
    return tuple(
        Core(cpu=cpu, max_khz=khz) for cpu, khz in sorted((int(a), int(b)) for a, b in found)
    )


def _cpuinfo(text: str, key: str) -> str:
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _first(props: dict[str, str], *names: str) -> str:
    return next((props[name] for name in names if props.get(name)), "")
