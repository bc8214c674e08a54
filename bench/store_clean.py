"""Removes from a device what is ours, and nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence

from imp_deploy.bench import detached, store_lock
from imp_deploy.bench.device import Device, checked
from imp_deploy.errors import DeviceError

_FILE = re.compile(r"files/[0-9a-f]{64}(\.ok|\.partial|\.piece)?")
_RUN = re.compile(r"runs/[0-9A-Za-z][0-9A-Za-z._-]*")
_LOCK = re.compile(rf"{re.escape(store_lock.NAME)}(\.old)?")

# A run's folder is known by what the bench puts into it first; a folder of somebody else's in
# `runs` has neither.
# `files` or `runs` may be a link that somebody set: nothing behind it is ours.
_LIST = """
all() { for e in $1* $1.[!.]*; do show; done; }
show() {
if [ -L "$e" ]; then echo "link 0 $e"
elif [ -d "$e" ]; then
k=folder; for m in "$e"/pid "$e"/boot "$e"/plan-*.txt "$e"/job-*.txt; do [ -f "$m" ] && k=run; done
echo "$k $(du -sk "$e" | while read n x; do echo $n; done) $e"
elif [ -f "$e" ]; then echo "file $(stat -c %s "$e") $e"
elif [ -e "$e" ]; then echo "other 0 $e"; fi
}
all ""; for d in files runs; do [ -L $d ] || all $d/; done
"""


def clean(device: Device, note: Callable[[str], None] | None = None) -> int:
    """Removes the files that `deploy` brought, the folders of runs, and then the folders that are
    empty; gives the bytes freed. What is not ours stays and is named in a note. `DeviceError` while
    a run or a push is at work."""
    root = shlex.quote(device.root)
    if store_lock.holder(device) is not None:
        raise DeviceError(
            f"{device.name}: another imp-deploy brings files there; run the same command again "
            "when it has ended."
        )
    listed = checked(device, f"cd {root} 2>/dev/null || exit 0\n{_LIST}", timeout=120)
    entries = re.findall(r"^(\w+) (\d+) (.+)$", listed, re.MULTILINE)
    runs = [name for kind, _, name in entries if kind == "run" and _RUN.fullmatch(name)]
    for run in runs:
        if detached.running(device, f"{device.root}/{run}"):
            raise DeviceError(
                f"{device.name}: a measurement is at work there ({device.root}/{run}); wait for "
                "it, or stop it with `imp-deploy bench --clean --force`."
            )
    files = [
        name
        for kind, _, name in entries
        if kind == "file" and (_FILE.fullmatch(name) or _LOCK.fullmatch(name))
    ]
    ours = {*runs, *files}
    freed = sum(
        int(size) * (1024 if kind == "run" else 1) for kind, size, name in entries if name in ours
    )
    _remove(device, root, files, runs)
    foreign = [name for _, _, name in entries if name not in ours and name not in ("files", "runs")]
    if foreign and note is not None:
        shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
        note(f"{device.name}: {shown} in {device.root} is not ours and stays.")
    return freed


def _remove(device: Device, root: str, files: Sequence[str], runs: Sequence[str]) -> None:
    for begin in range(0, len(files), 50):
        names = " ".join(files[begin : begin + 50])
        checked(device, f"cd {root} && rm -f {names}", timeout=120)
    for begin in range(0, len(runs), 50):
        names = " ".join(runs[begin : begin + 50])
        checked(device, f"cd {root} && rm -rf {names}", timeout=120)
    # Not by `rm -r`: a folder with something in it stays.
    device.shell(f"cd {root} && rmdir files runs 2>/dev/null; cd / && rmdir {root} 2>/dev/null")
