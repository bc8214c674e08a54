"""The three programs of the machine that make the phone run."""

from __future__ import annotations

import platform
import shutil
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.errors import DeviceError

_CURE = "on Debian and Ubuntu: `apt-get install qemu-user-static proot busybox-static`"
_PT_INTERP = 3


@dataclass(frozen=True)
class Tools:
    qemu: Path
    proot: Path
    busybox: Path


def find() -> Tools:
    """`DeviceError` with the cure when one is missing, or the system is not Linux."""
    if sys.platform != "linux":
        raise DeviceError(
            f"The virtual phone runs on Linux only and this is {platform.system()}; use a real "
            "phone, or a Linux machine."
        )
    qemu = _program("qemu-aarch64-static") or _program("qemu-aarch64")
    proot = _program("proot")
    busybox = next(
        (path for name in ("busybox", "busybox-static") if (path := _program(name)) is not None),
        None,
    )
    parts = (("qemu-aarch64-static", qemu), ("proot", proot), ("busybox", busybox))
    missing = [name for name, path in parts if path is None]
    if qemu is None or proot is None or busybox is None:
        raise DeviceError(
            f"The virtual phone needs {' and '.join(missing)}, which this machine lacks; install "
            f"them ({_CURE})."
        )
    for program in (busybox, qemu):
        if not is_static(program):
            raise DeviceError(
                f"{program} needs shared libraries, which the virtual phone does not have; install "
                f"the static one ({_CURE})."
            )
    return Tools(qemu, proot, busybox)


def _program(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found).resolve() if found else None


def is_static(program: Path) -> bool:
    """Whether an ELF file of 64 bits asks for no loader."""
    with program.open("rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:5] != b"\x7fELF\x02":
            return False
        (offset,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        file.seek(offset)
        table = file.read(size * count)
    kinds = [struct.unpack_from("<I", table, i * size)[0] for i in range(len(table) // size)]
    return _PT_INTERP not in kinds
