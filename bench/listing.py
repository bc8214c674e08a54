"""What `imp-deploy devices` shows: every device, and for one that cannot be used why not."""

from __future__ import annotations

from dataclasses import dataclass

from imp_deploy.bench import describe, discover
from imp_deploy.bench.device import Device
from imp_deploy.bench.disk import free_bytes
from imp_deploy.bench.host import HostDevice
from imp_deploy.bench.states import explained
from imp_deploy.errors import DeviceError

SPACE_BYTES = 512 << 20
"""With less there is no room for the smallest of Imp's variants beside results and logs."""

_AUTHORISE_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Listed:
    """`name` as `--device` takes it. `state`: "ready", or in a word or two why not; then `reason`
    and `cure` are sentences. "" and None where the device does not tell."""

    name: str
    state: str
    manufacturer: str = ""
    model: str = ""
    soc: str = ""
    os: str = ""
    battery_percent: int | None = None
    free_bytes: int | None = None
    reason: str = ""
    cure: str = ""


def listing() -> tuple[Listed, ...]:
    """Phones first, then the virtual phone and this machine."""
    found = []
    try:
        phones = discover.seen()
    except DeviceError as error:
        phones = ()
        found.append(Listed(name="adb", state="error", reason=str(error), cure="See above."))
    found += [_phone(phone) for phone in phones]
    return (*found, _virtual(), _connected("host", "", HostDevice()))


def _phone(phone: discover.Seen) -> Listed:
    if not phone.usable:
        reason, cure = explained(phone.state)
        return Listed(
            name=phone.name, state=phone.state, model=phone.model, reason=reason, cure=cure
        )
    try:
        device = discover.connect(phone.name, wait=_AUTHORISE_SECONDS)
    except DeviceError as error:
        return _error(phone.name, phone.model, error)
    return _connected(phone.name, phone.model, device)


def _connected(name: str, model: str, device: Device) -> Listed:
    try:
        return _looked_at(name, device)
    except DeviceError as error:
        return _error(name, model, error)
    finally:
        device.close()


def _error(name: str, model: str, error: DeviceError) -> Listed:
    return Listed(
        name=name,
        state="error",
        model=model,
        reason=str(error),
        cure="Unlock the phone, take the cable out and in, or restart it.",
    )


def _looked_at(name: str, device: Device) -> Listed:
    record = describe.describe(device)
    free = free_bytes(device)
    full = free < SPACE_BYTES
    return Listed(
        name=name,
        state="no space" if full else "ready",
        manufacturer=record.manufacturer,
        model=record.model,
        soc=record.soc,
        os=record.os,
        battery_percent=describe.conditions(device).battery_percent,
        free_bytes=free,
        reason=f"Only {free / 2**20:.0f} MiB are free at {device.root}." if full else "",
        cure="Free some space, or remove what earlier runs left with `imp-deploy bench --clean`."
        if full
        else "",
    )


def _virtual() -> Listed:
    from imp_deploy.bench.virtual import tools

    try:
        tools.find()
    except DeviceError as error:
        reason, _, cure = str(error).partition("; ")
        return Listed(
            name="virtual",
            state="not installed",
            model="virtual phone",
            reason=f"{reason}.",
            cure=cure[:1].upper() + cure[1:],
        )
    return Listed(name="virtual", state="ready", model="virtual phone")
