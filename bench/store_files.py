"""The files of the store on a device: what is there, putting pieces together, hashing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.bench.device import Device, Output, checked
from imp_deploy.bench.disk import full_disk_message, is_full
from imp_deploy.bench.store_lock import NAME as LOCK
from imp_deploy.bench.store_lock import meanwhile
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.files import sha256_of

MIB = 1 << 20

_HASH_RATE = 20 * MIB
"""Bytes per second that the slowest phone hashes and copies, with a wide margin."""

# Where the boot's id is part of the note, a file that a sudden power loss left with blocks missing
# is hashed again.
_STAMP = "stat -c '%s %i %y %z' $f; cat /proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Wanted:
    """A local file, with the hash and size that it must have."""

    path: Path
    sha256: str
    bytes: int
    executable: bool = False


@dataclass(frozen=True)
class There:
    """What the device has of a file: `verified` when it is known to be whole."""

    complete: bool = False
    verified: bool = False
    partial_bytes: int = 0


def folder(device: Device) -> str:
    return f"{device.root}/files"


def path_of(device: Device, file: Wanted) -> str:
    return f"{folder(device)}/{file.sha256}"


def require_size(file: Wanted) -> None:
    try:
        size = file.path.stat().st_size
    except OSError as error:
        raise BadInput(
            f"{file.path} cannot be read ({error.strerror}); export the bundle again."
        ) from None
    if size != file.bytes:
        raise BadInput(
            f"{file.path} has {size} bytes and had {file.bytes} when it was exported; export the "
            "bundle again."
        )


def require_hash(file: Wanted) -> None:
    require_size(file)
    if sha256_of(file.path) != file.sha256:
        raise BadInput(
            f"{file.path} was changed after it was exported (its SHA-256 is not {file.sha256}); "
            "export the bundle again."
        )


def survey(device: Device, files: Sequence[Wanted]) -> dict[str, There]:
    """What is there of each file, in one round trip."""
    names = " ".join(file.sha256 for file in files)
    text = checked(
        device,
        f"cd {shlex.quote(folder(device))} 2>/dev/null || exit 0\n"
        f"for f in {names}; do\n"
        f'if [ -f $f ]; then echo "complete $f"; [ -x $f ] && echo "executable $f"\n'
        f'[ -f $f.ok ] && [ "$({_STAMP})" = "$(cat $f.ok)" ] && echo "verified $f"; fi\n'
        'if [ -f $f.partial ]; then echo "partial $f $(stat -c %s $f.partial)"; fi\n'
        "done; true",
    )
    found = {tuple(line.split()[:2]) for line in text.splitlines()}
    partial = {name: int(size) for name, size in re.findall(r"^partial (\w+) (\d+)$", text, re.M)}
    return {
        file.sha256: There(
            complete=("complete", file.sha256) in found,
            verified=("verified", file.sha256) in found
            and (not file.executable or ("executable", file.sha256) in found),
            partial_bytes=partial.get(file.sha256, 0),
        )
        for file in files
    }


def usable_bytes(partial: int, file: Wanted) -> int:
    """How much of a partial file counts: pieces are put in whole MiB from the start, so that what
    a broken copy left is good up to the last whole one."""
    if partial == file.bytes:
        return partial
    return partial // MIB * MIB if partial < file.bytes else 0


def append(device: Device, file: Wanted, offset: int, count: int) -> None:
    """Puts the piece to its place. Copied to an offset and not appended: a copy that goes on after
    the connection broke, and one that was started again, write the same bytes to the same place."""
    path = shlex.quote(path_of(device, file))
    if offset == 0:
        command = f"mv -f {path}.piece {path}.partial"
    else:
        command = (
            f"dd if={path}.piece of={path}.partial bs={MIB} seek={offset // MIB} conv=notrunc && "
            f"rm -f {path}.piece && [ $(stat -c %s {path}.partial) = {offset + count} ]"
        )
    output = device.shell(command, timeout=60 + count / _HASH_RATE)
    if output.status != 0:
        raise _failed(device, file, output)


def verify(device: Device, file: Wanted, suffix: str) -> bool:
    """Hashes the file with that suffix on the device. A right one gets its name, its mode and its
    note; a wrong one is removed."""
    mode = "755" if file.executable else "644"
    rename = f"mv -f $f{suffix} $f && " if suffix else ""
    seconds = 60 + file.bytes / _HASH_RATE
    hashing = meanwhile(f"h=$(sha256sum $f{suffix})", lock=f"../{LOCK}", seconds=seconds)
    output = device.shell(
        f"cd {shlex.quote(folder(device))} && f={file.sha256}\n"
        f"{hashing} || exit 1\n"
        f'if [ "${{h%% *}}" != $f ]; then rm -f $f{suffix} $f.ok; echo damaged; exit 0; fi\n'
        f"chmod {mode} $f{suffix} && {rename}{{ {_STAMP}; }} > $f.ok && echo verified",
        timeout=seconds,
    )
    # Some shells say before it that they ended a process in the background.
    answer = (output.text.split() or [""])[-1]
    if output.status != 0 or answer not in ("verified", "damaged"):
        raise _failed(device, file, output)
    return answer == "verified"


def _failed(device: Device, file: Wanted, output: Output) -> DeviceError:
    if is_full(output.text):
        return DeviceError(full_disk_message(device, file.path.name, output.text))
    return DeviceError(
        f"{device.name}: {file.path.name} could not be put in its place; {output.evidence()}"
    )
