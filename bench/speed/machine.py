"""The machine that figures were taken on; without it they say nothing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Machine:
    """`cores`: those that this process may run on. `features`: of the CPU, where kernels differ by
    them. `disk`: file system and model of the one that the files are on, "" where unknown."""

    cpu: str
    cores: int
    features: tuple[str, ...]
    memory_bytes: int
    kernel: str
    disk: str

    def sentence(self) -> str:
        return (
            f"{self.cpu} ({self.cores} cores; {', '.join(self.features) or 'no known features'}), "
            f"{self.memory_bytes / 2**30:.0f} GiB of memory, {self.kernel}, {self.disk or 'disk ?'}"
        )


# Those that choose other kernels in ggml, in the names of /proc/cpuinfo (x86, then ARM).
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "asimddp", "i8mm", "sve")


def describe(folder: Path) -> Machine:
    """This machine, and the disk of `folder`."""
    cpuinfo = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    flags = set(cpu_field(cpuinfo, "flags").split()) | set(cpu_field(cpuinfo, "Features").split())
    return Machine(
        cpu=cpu_field(cpuinfo, "model name") or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        features=tuple(name for name in _FEATURES if name in flags),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=f"{platform.system()} {platform.release()}",
        disk=disk_of(Path("/proc/self/mountinfo").read_text("utf-8", "replace"), folder),
    )


def cpu_field(cpuinfo: str, key: str) -> str:
    """The first value of `key` in the text of /proc/cpuinfo; "" where there is none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def disk_of(mounts: str, folder: Path) -> str:
    """File system and source of the mount that holds `folder`, by the text of mountinfo."""
    best, found = -1, ""
    place = str(folder.resolve())
    for line in mounts.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if not separator or len(fields) < 5 or len(kind) < 2:
            continue
        point = fields[4].rstrip("/")
        if (place == point or place.startswith(point + "/")) and len(point) >= best:
            best, found = len(point), f"{kind[0]} on {kind[1]}"
    return found
