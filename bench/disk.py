"""Free space on a device, and what to say when there is none."""

from __future__ import annotations

import shlex

from imp_deploy.bench.device import Device
from imp_deploy.errors import DeviceError

_FULL = ("no space left on device", "disk quota exceeded", "enospc", "file too large")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def free_bytes(device: Device) -> int:
    """What may still be written to the file system that holds `device.root`."""
    output = device.shell(df_script(device.root))
    free = parse_df(output.text)
    if free is None:
        raise DeviceError(
            f"{device.name}: the free space of {device.root} cannot be read; {output.evidence()}"
        )
    return free


def df_script(folder: str) -> str:
    """`df` of the nearest folder that exists: ours may not be there yet."""
    return (
        f"p={shlex.quote(folder)}; "
        'while [ ! -d "$p" ] && [ -n "$p" ]; do p=${p%/*}; done; df -k "${p:-/}"'
    )


def parse_df(text: str) -> int | None:
    """Bytes available in what `df -k` printed; None when this is no such table.

    Toybox and busybox break a line after a long device name; the old toolbox knows no `-k` and
    prints `Free` in a column with units (`24.3G`)."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    for number, header in enumerate(rows):
        if not header or header[0] != "Filesystem":
            continue
        fields = [field for row in rows[number + 1 :] for field in row]
        if "Free" in header and len(fields) > header.index("Free"):
            return _with_unit(fields[header.index("Free")])
        for place, field in enumerate(fields):
            if field.endswith("%") and place >= 2 and fields[place - 1].lstrip("-").isdigit():
                return max(0, int(fields[place - 1]) * 1024)
    return None


def _with_unit(text: str) -> int | None:
    try:
        return int(float(text.rstrip("KMGT")) * _UNITS.get(text[-1:], 1))
    except ValueError:
        return None


def is_full(words: str) -> bool:
    return any(sign in words.lower() for sign in _FULL)


def full_disk_message(device: Device, path: str, words: str) -> str:
    """A sentence for a disk that ran full while `path` was written."""
    try:
        free = f"{free_bytes(device) / 2**20:.0f} MiB"
    except DeviceError:
        free = "an unknown number of bytes"
    return (
        f'{device.name}: the disk ran full while {path} was written (it says "{words.strip()}", '
        f"and {free} are free); free some space on it, or remove what earlier runs left with "
        "`imp-deploy bench --clean`, and run the same command again, it goes on where it stopped."
    )
