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
_READ_SIZE = 1 << 22


def write_atomic(path: Path, content: bytes) -> None:
    """Writes beside `path`, syncs, then renames: a reader sees the old file or the whole new one."""
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


def read_json(path: Path) -> Any:
    """The JSON document in `path`; unreadable or broken files are bad input."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise BadInput(f"{path} is missing; check the path or download it again.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read ({error}); download it again.") from None
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadInput(f"{path} is not valid JSON ({error}); download it again.") from None


def read_json_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise BadInput(f"{path} holds no JSON object; download it again.")
    return value


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(_READ_SIZE)
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


@contextlib.contextmanager
def full_disk_is_bad_input(where: Path) -> Iterator[None]:
    """Turns a full disk (or quota, or file size limit) into a sentence with the cure."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise BadInput(
                f"The disk is full while writing {where} ({os.strerror(error.errno or 0)}); "
                "free some space and run the same command again, it goes on where it stopped."
            ) from None
        if isinstance(error, PermissionError):
            raise BadInput(
                f"{where} may not be written; choose another output folder or change its rights."
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
    with full_disk_is_bad_input(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 32).decode(errors="replace").strip()
            raise BadInput(
                f"{folder} is in use by another export (process {owner or 'unknown'}); wait for "
                "it to end, or choose another output folder."
            ) from None
        os.truncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
        path.unlink(missing_ok=True)
    finally:
        os.close(handle)
