"""Phones on this machine's USB ports, as libusb sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imp_deploy.errors import DeviceError

try:
    import usb1
    from adb_shell.exceptions import UsbReadFailedError, UsbWriteFailedError
    from adb_shell.transport.usb_transport import UsbTransport

    _MISSING = ""
except (ImportError, OSError) as error:  # no libusb on this machine
    _MISSING = str(error)

NO_RIGHTS = (
    "install the udev rules (Debian: `apt-get install android-sdk-platform-tools-common`), add "
    "yourself to the group plugdev (`sudo usermod -aG plugdev $USER`), log in again, and take the "
    "cable out and in."
)


def busy_cure(serial: str) -> str:
    return (
        f"use `--device adb:{serial}`, which goes through that server, or end it with "
        "`adb kill-server`."
    )


@dataclass(frozen=True)
class Port:
    """`serial` "" where this user may not read it."""

    serial: str
    usable: bool


def ports() -> tuple[Port, ...]:
    """Every device with an adb interface; none where libusb does not work."""
    if _MISSING:
        return ()
    found = []
    try:
        for transport in UsbTransport.find_all_adb_devices():
            try:
                found.append(Port(str(transport.serial_number), usable=True))
            except usb1.USBError:
                found.append(Port("", usable=False))
    except usb1.USBError:
        return tuple(found)
    return tuple(found)


def transport(serial: str) -> Any:
    """adb-shell's transport for the device with that serial."""
    if _MISSING:
        raise DeviceError(
            f"usb:{serial}: libusb does not work on this machine ({_MISSING}); install libusb-1.0, "
            "or go through an adb server with `--device adb:SERIAL`."
        )
    known = ports()
    if not any(port.serial == serial for port in known):
        if any(not port.usable for port in known):
            raise DeviceError(
                f"usb:{serial}: this user may not use the phone's USB port; {NO_RIGHTS}"
            )
        names = ", ".join(f"usb:{port.serial}" for port in known) or "none"
        raise DeviceError(
            f"usb:{serial} is not on a USB port of this machine (there are: {names}); check the "
            "cable, and that USB debugging is on."
        )
    return UsbTransport.find_adb(serial=serial)


def is_timeout(error: Exception) -> bool:
    if _MISSING or not isinstance(error, UsbReadFailedError | UsbWriteFailedError):
        return False
    return isinstance(error.usb_error, usb1.USBErrorTimeout)


def sentence(error: Exception, name: str) -> str | None:
    """What to say when a USB port could not be opened; None when `error` is another one."""
    if _MISSING:
        return None
    serial = name.partition(":")[2]
    if isinstance(error, usb1.USBErrorBusy):
        return f"{name} is busy: an adb server owns it; {busy_cure(serial)}"
    if isinstance(error, usb1.USBErrorAccess):
        return f"{name}: this user may not use the phone's USB port; {NO_RIGHTS}"
    return None
