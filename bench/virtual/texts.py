"""What the phone's files say: /proc, /sys and the answers of Android's services."""

from __future__ import annotations

from dataclasses import dataclass

from imp_deploy.bench.virtual.heat import Heat
from imp_deploy.bench.virtual.socs import Soc

ZONES = (
    *("cpu-0-0-0", "cpu-0-1-0", "cpu-1-0-0", "cpu-1-1-0", "cpu-1-2-0", "cpu-2-0-0"),
    *("cpuss-0", "cpuss-1", "gpuss-0", "ddr", "battery", "xo-therm", "skin-therm", "quiet-therm"),
)
"""Names of thermal zones, as Qualcomm's device trees have them."""

_HAL_CPU, _HAL_GPU, _HAL_BATTERY, _HAL_SKIN = 0, 1, 2, 3  # android.hardware.thermal TemperatureType


@dataclass(frozen=True, kw_only=True)
class Power:
    percent: int
    charging: bool
    saver: bool
    screen_on: bool


def properties(soc: Soc, abi: str, boot_reason: str) -> str:
    device = f"virtual_{soc.name.lower()}"
    build = f"imp/{device}/virtual:14/UP1A.240101.001/1:userdebug/test-keys"
    arm = abi.startswith("arm64")
    values = {
        "ro.product.manufacturer": "imp-deploy",
        "ro.product.brand": "imp",
        "ro.product.model": f"Virtual {soc.name}",
        "ro.product.name": device,
        "ro.product.device": "virtual",
        "ro.product.board": soc.board,
        "ro.product.cpu.abi": abi,
        "ro.product.cpu.abilist": abi,
        "ro.product.cpu.abilist64": abi if arm or abi == "x86_64" else "",
        "ro.soc.manufacturer": "QTI",
        "ro.soc.model": soc.name,
        "ro.board.platform": soc.board,
        "ro.hardware": "qcom",
        "ro.build.version.release": "14",
        "ro.build.version.sdk": "34",
        "ro.build.version.security_patch": "2024-01-01",
        "ro.build.id": "UP1A.240101.001",
        "ro.build.type": "userdebug",
        "ro.build.fingerprint": build,
        "ro.serialno": "VIRTUAL0001",
        "ro.kernel.qemu": "1",
        "ro.boot.qemu": "1",
        "ro.boot.bootreason": boot_reason,
        "sys.boot.reason": boot_reason,
        "sys.boot_completed": "1",
        "init.svc.adbd": "running",
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def cpuinfo(soc: Soc) -> str:
    blocks = [
        f"processor\t: {number}\nBogoMIPS\t: 38.40\nFeatures\t: {' '.join(soc.features)}\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\n"
        f"CPU part\t: {core.part:#x}\nCPU revision\t: 0\n"
        for number, core in enumerate(soc.cores)
    ]
    return "\n".join([*blocks, f"Hardware\t: Qualcomm Technologies, Inc {soc.name}\n"])


def meminfo(total: int, available: int) -> str:
    """Sizes in bytes."""
    cached = available // 2
    kib = {
        "MemTotal": total,
        "MemFree": available - cached,
        "MemAvailable": available,
        "Buffers": 0,
        "Cached": cached,
        "SwapCached": 0,
        "SwapTotal": total // 3,
        "SwapFree": total // 3,
    }
    return "".join(f"{name + ':':<15} {value // 1024:>8} kB\n" for name, value in kib.items())


def celsius(zone: str, heat: Heat) -> float:
    if zone.startswith(("cpu-2", "cpuss")):
        return heat.processor
    if zone.startswith(("cpu", "gpu")):
        return 0.8 * heat.processor + 0.2 * heat.case
    return 0.9 * heat.case + 0.1 * heat.air if zone == "xo-therm" else heat.case


def battery(power: Power, heat: Heat) -> str:
    return (
        "Current Battery Service state:\n"
        "  AC powered: false\n"
        f"  USB powered: {str(power.charging).lower()}\n"
        "  Wireless powered: false\n"
        "  Max charging current: 0\n"
        "  Charge counter: 4000000\n"
        f"  status: {2 if power.charging else 3}\n"
        "  health: 2\n"
        "  present: true\n"
        f"  level: {power.percent}\n"
        "  scale: 100\n"
        "  voltage: 4100\n"
        f"  temperature: {round(10 * heat.case)}\n"
        "  technology: Li-ion\n"
    )


def battery_files(power: Power, heat: Heat) -> dict[str, str]:
    """Of /sys/class/power_supply/battery; tenths of a degree, microvolts, microamperes."""
    return {
        "capacity": str(power.percent),
        "status": "Charging" if power.charging else "Discharging",
        "temp": str(round(10 * heat.case)),
        "voltage_now": "4100000",
        "current_now": "900000" if power.charging else "-500000",
        "health": "Good",
        "present": "1",
        "type": "Battery",
    }


def power_service(power: Power) -> str:
    return (
        "POWER MANAGER (dumpsys power)\n\n"
        "Power Manager State:\n"
        f"  mIsPowered={str(power.charging).lower()}\n"
        f"  mBatteryLevel={power.percent}\n"
        f"  mWakefulness={'Awake' if power.screen_on else 'Asleep'}\n\n"
        f"Display Power: state={'ON' if power.screen_on else 'OFF'}\n"
    )


def thermal_service(soc: Soc, heat: Heat) -> str:
    rows = [
        (f"CPU{n}", _HAL_CPU, celsius("cpu-2-0-0" if n == len(soc.cores) - 1 else "cpu-0", heat))
        for n in range(len(soc.cores))
    ]
    rows += [("GPU0", _HAL_GPU, celsius("gpuss-0", heat))]
    rows += [("battery", _HAL_BATTERY, heat.case), ("skin", _HAL_SKIN, heat.case)]
    lines = "".join(
        f"\tTemperature{{mValue={value:.1f}, mType={kind}, mName={name}, mStatus=0}}\n"
        for name, kind, value in rows
    )
    return (
        "IsStatusOverride: false\nThermal Status: 0\nCached temperatures:\n"
        f"{lines}HAL Ready: true\nHAL connection:\n\tThermalHAL AIDL 2  connected: yes\n"
        f"Current temperatures from HAL:\n{lines}"
        "Current cooling devices from HAL:\n"
    )
