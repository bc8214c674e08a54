"""The only module that gives a file its final name, locks a folder, or hashes a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imp_deploy.errors import BadInput

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_PLACE = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
_READ_SIZE = 1 << 22


def write_atomic(path: Path, content: bytes) -> None:
    """Writes beside `path`, syncs, renames: a reader sees the old file or the whole new one."""
    beside = path.with_name(f".{path.name}.partial")
    with full_disk_is_bad_input(path):
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)


def write_json_atomic(path: Path, value: Any) -> None:
    write_atomic(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path, cure: str = "download it again") -> Any:
    """The JSON document in `path`; unreadable or broken files are bad input. `cure` ends the
    error's sentence."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise BadInput(f"{path} is missing; check the path, or {cure}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read ({error}); {cure}.") from None
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():  # half of a surrogate pair is no text, and no file can hold it
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not valid JSON ({error}); {cure}.") from None
    return value


def read_json_object(path: Path, cure: str = "download it again") -> dict[str, Any]:
    value = read_json(path, cure)
    if not isinstance(value, dict):
        raise BadInput(f"{path} holds no JSON object; {cure}.")
    return value


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            buffer = bytearray(_READ_SIZE)
            while count := file.readinto(buffer):
                digest.update(memoryview(buffer)[:count])
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({error.strerror}); check its rights and its disk."
        ) from None
    return digest.hexdigest()


@contextlib.contextmanager
def full_disk_is_bad_input(where: Path) -> Iterator[None]:
    """Turns a full disk (or quota, or file size limit), a place that may not be written, and a path
    that cannot be one into a sentence with the cure."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        if error.errno in _FULL:
            raise BadInput(
                f"The disk is full while writing {where} ({reason}); free some space and run the "
                "same command again, it goes on where it stopped."
            ) from None
        if error.errno in _REFUSED:
            raise BadInput(
                f"{where} may not be written ({reason}); choose another output folder, or change "
                "its rights."
            ) from None
        if error.errno in _NO_PLACE:
            raise BadInput(
                f"{where} cannot be written ({reason}); choose another output folder."
            ) from None
        raise


def require_space(folder: Path, needed: int) -> None:
    """Raises `BadInput` unless the file system of `folder` has `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BadInput(
            f"{folder} has {free / 2**30:.2f} GiB free and the export needs "
            f"{needed / 2**30:.2f} GiB more; free some space, or ask for fewer --bits or "
            "--resolution."
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process; released by the system even if the process is killed."""
    path = folder / ".export.lock"
    handle = _lock(path)
    try:
        with full_disk_is_bad_input(path):
            os.truncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def _lock(path: Path) -> int:
    while True:
        with full_disk_is_bad_input(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last owner may have removed the file after we opened it: then it locks nothing.
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            owner = os.read(handle, 32).decode(errors="replace").strip()
            os.close(handle)
            raise BadInput(
                f"{path.parent} is in use by another export (process {owner or 'unknown'}); wait "
                "for it to end, or choose another output folder."
            ) from None
        except FileNotFoundError:
            pass
        os.close(handle)
