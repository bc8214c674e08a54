"""What a report calls a device."""

from __future__ import annotations

from imp_deploy.bench.report.paper import paper_hardware
from imp_deploy.results import DeviceRecord


def hardware(device: DeviceRecord) -> tuple[str, str]:
    """The device, where an emulated one says so first, and its SoC, with the paper's name for it
    where the device is real."""
    maker = device.manufacturer
    name = device.model if device.model.startswith(maker) else f"{maker} {device.model}"
    soc = device.soc
    if not device.emulated and (short := paper_hardware(soc)) is not None:
        soc = f"{short}, {soc}"
    return (f"emulated: {name.strip()}" if device.emulated else name.strip()), soc


def place(device: DeviceRecord) -> str:
    """Where answers were computed, in a few words: `host: …`, `emulated: …` or the phone."""
    name, _ = hardware(device)
    return f"host: {name}" if device.kind == "host" else name
