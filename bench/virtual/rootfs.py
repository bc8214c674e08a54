"""The phone's root file system: a folder with a shell, scripts and files, made anew at every start;
only /data stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from imp_deploy import process
from imp_deploy.errors import DeviceError

_BELOW = Path(__file__).parent / "rootfs"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts")
_FOLDERS = (
    *("dev/.adbd", "dev/shm", "proc", "sys", "system/bin", "tmp", "host-rootfs"),
    *("data/local/tmp", "data/media/0"),
)
_LINKS = {"bin": "/system/bin", "etc": "/system/etc", "sdcard": "/data/media/0"}


def build(root: Path, busybox: Path) -> None:
    """Makes everything under `root` anew, but for /data."""
    root.mkdir(parents=True, exist_ok=True)
    for entry in root.iterdir():
        if entry.name != "data":
            _remove(entry)
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "data/local/tmp").chmod(0o771)
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (root / "dev" / name).symlink_to(f"/proc/self/{target}")
    for name in _DEVICES:  # proot needs something to lay them over
        if Path("/dev", name).is_dir():
            (root / "dev" / name).mkdir()
        else:
            (root / "dev" / name).touch()
    shutil.copytree(_BELOW / "system", root / "system", dirs_exist_ok=True)
    own = {path.name for path in (root / "system/bin").iterdir()}
    for path in (root / "system/bin").iterdir():
        path.chmod(0o755)
    for applet in _install_busybox(root / "system/bin/busybox", busybox, own):
        if applet not in own | {"busybox"}:
            (root / "system/bin" / applet).symlink_to("busybox")


def bindings(proc: Path) -> list[tuple[str, str]]:
    """What of this machine the phone sees, and where: /proc, harmless devices, nothing else.
    `proc` holds files that lie over the machine's own."""
    pairs = [("/proc", "/proc")]
    pairs += [(str(path), f"/proc/{path.relative_to(proc)}") for path in _files(proc)]
    pairs += [(f"/dev/{n}", f"/dev/{n}") for n in _DEVICES if Path("/dev", n).exists()]
    return pairs


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        entry.chmod(0o755)
        for folder, names, _ in os.walk(entry):
            for name in names:
                path = Path(folder, name)
                if not path.is_symlink():
                    path.chmod(0o755)
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _install_busybox(target: Path, busybox: Path, own: set[str]) -> list[str]:
    """Copies busybox and returns its applets. Its shell prefers its own applets to files on the
    PATH, so those that the phone has scripts for are renamed in the copy's table of names, to the
    next word in the order in which it searches."""
    listed = process.run([str(busybox), "--list"])
    if listed.returncode != 0:
        raise DeviceError(f"{busybox} does not work: {listed.evidence()}")
    applets = listed.stdout.split()
    program = bytearray(busybox.read_bytes())
    table = b"\0".join(name.encode() for name in applets) + b"\0"
    start = program.find(table)
    if start >= 0:
        place = start
        for name in applets:
            if name in own:
                program[place + len(name) - 1] += 1
            place += len(name) + 1
    target.write_bytes(program)
    target.chmod(0o755)
    return applets
