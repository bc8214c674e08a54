"""Which devices there are, and connecting to the one that `--device` names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from imp_deploy.bench import adb_direct, adb_server, usb
from imp_deploy.bench.device import Device
from imp_deploy.bench.host import HostDevice
from imp_deploy.bench.states import explained, refusal
from imp_deploy.errors import DeviceError

Note = Callable[[str], None]

_SETTLE_SECONDS = 1.5

FORMS = "host, virtual, adb:SERIAL, tcp:HOST:PORT or usb:SERIAL"
_ENABLE = (
    'switch on USB debugging (on the phone: Settings, About phone, tap "Build number" seven times; '
    "then Settings, System, Developer options, USB debugging), plug it in and accept the dialog on "
    "it"
)
_WITHOUT = "without a phone there are `--device virtual` and `--device host`"


@dataclass(frozen=True)
class Seen:
    """A phone that the adb server or a USB port shows, not connected to yet."""

    name: str
    state: str
    model: str = ""

    @property
    def usable(self) -> bool:
        return self.state == "device"


def seen() -> tuple[Seen, ...]:
    """Phones of the adb server, then those on USB ports that no server holds."""
    entries = adb_server.devices()
    found = [Seen(f"adb:{entry.serial}", entry.state, entry.model) for entry in entries]
    # Without rights the server cannot read the serial either, and shows question marks.
    known = {entry.serial for entry in entries}
    blind = any(entry.state == "no permissions" for entry in entries)
    for port in usb.ports():
        if port.usable and port.serial not in known:
            found.append(Seen(f"usb:{port.serial}", "device"))
        elif not port.usable and not blind:
            found.append(Seen("usb:?", "no permissions"))
    return tuple(found)


def default_names() -> tuple[str, ...]:
    """The phone to use when the user names none: the one that there is."""
    phones = seen()
    usable = [phone for phone in phones if phone.usable]
    if len(usable) == 1:
        return (usable[0].name,)
    if usable:
        raise DeviceError(
            f"There are {len(usable)} phones; say which with `--device NAME`, once for each that "
            f"is meant:\n{_listed(usable)}"
        )
    if phones:
        raise DeviceError(
            f"No phone can be used ({_WITHOUT}):\n"
            + "\n".join(f"  {p.name}: {' '.join(explained(p.state))}" for p in phones)
        )
    server = "" if adb_server.answers() or adb_server.adb_program() else f" {_NO_ADB}"
    raise DeviceError(f"There is no phone; {_ENABLE}; {_WITHOUT}.{server}")


_NO_ADB = (
    "There is no adb program on this machine either (Debian: `apt-get install adb`); without it "
    "phones on USB ports are used directly, which needs udev rules."
)


def choose(names: Sequence[str]) -> tuple[str, ...]:
    """The names asked for, each once and well-formed, or the default."""
    if not names:
        return default_names()
    for name in names:
        _parse(name)
    return tuple(dict.fromkeys(names))


def well_formed(name: str) -> bool:
    """Whether it is one of FORMS, whatever there is."""
    try:
        _parse(name)
    except DeviceError:
        return False
    return True


def connect(name: str, *, note: Note | None = None, wait: float = 30.0) -> Device:
    """A connection to a device that is ready. `note` is told to ask for the dialog on the phone,
    for which `wait` seconds are given. The virtual phone has to be started: `connected`."""
    say = note or (lambda _: None)
    kind, rest = _parse(name)
    if kind == "host":
        return HostDevice()
    if kind == "tcp":
        host, _, port = rest.rpartition(":")
        return adb_direct.connect_tcp(host.strip("[]"), int(port), wait=wait, note=say)
    if kind == "usb":
        return _connect_usb(rest, note=say, wait=wait)
    if kind == "adb":
        return _connect_server(rest)
    raise DeviceError("The virtual phone is started with `imp-deploy virtual`.")


@contextmanager
def connected(name: str, *, note: Note | None = None) -> Iterator[Device]:
    """The device, for the time of a `with`. The virtual phone is switched on for it."""
    if name == "virtual":
        from imp_deploy.bench.virtual.power import powered
        from imp_deploy.bench.virtual.settings import Settings

        with powered(Settings()) as running:
            device = adb_direct.connect_tcp(
                running.host, running.port, kind="virtual", name="virtual"
            )
            try:
                yield device
            finally:
                device.close()
        return
    other = connect(name, note=note)
    try:
        yield other
    finally:
        other.close()


def _connect_server(serial: str) -> Device:
    entry = adb_server.find(serial)
    if entry is None or entry.state != "device":
        entry = adb_server.settled(serial, _SETTLE_SECONDS)
    if entry is None:
        raise DeviceError(f"There is no adb:{serial}; {_present()}")
    if entry.state != "device":
        raise DeviceError(refusal(f"adb:{serial}", entry.state))
    return adb_server.connect(serial)


def _connect_usb(serial: str, *, note: Note, wait: float) -> Device:
    # Looked up only where a server runs: it must not be started, it would take the port.
    if adb_server.answers() and adb_server.find(serial) is not None:
        raise DeviceError(f"usb:{serial} is busy: an adb server owns it; {usb.busy_cure(serial)}")
    return adb_direct.connect_usb(serial, note=note, wait=wait)


def _present() -> str:
    phones = seen()
    if not phones:
        return f"no phone is connected; {_ENABLE}; {_WITHOUT}."
    return f"there are:\n{_listed(phones)}"


def _listed(phones: Sequence[Seen]) -> str:
    lines = []
    for phone in phones:
        state = "" if phone.usable else f", {phone.state}"
        lines.append(f"  --device {phone.name}  {phone.model}{state}".rstrip())
    return "\n".join(lines)


def _parse(name: str) -> tuple[str, str]:
    kind, _, rest = name.partition(":")
    if name in ("host", "virtual"):
        return name, ""
    if kind in ("adb", "usb") and rest:
        return kind, rest
    port = re.fullmatch(r"(?:\[[^\]]+\]|[^:]+):(\d{1,5})", rest)
    if kind == "tcp" and port is not None and 0 < int(port[1]) < 65536:
        return kind, rest
    raise DeviceError(f"{name!r} names no device; give {FORMS} (`imp-deploy devices` lists them).")
