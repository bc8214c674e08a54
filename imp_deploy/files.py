"""The only module that gives a file its final name, locks, or hashes a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imp_deploy.errors import BadInput

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_PLACE = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
_READ_SIZE = 1 << 22
_PROCESS = "{process}"


def write_atomic(path: Path, content: bytes) -> None:
    """Writes beside `path`, syncs, renames: a reader sees the old file or the whole new one. A link
    stays one, and what is no file (/dev/stdout) is written to."""
    if path.exists() and not path.is_file() and not path.is_dir():
        with full_disk_is_bad_input(path), path.open("wb") as device:
            device.write(content)
        return
    if path.is_symlink():
        path = path.resolve()
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


def copy_atomic(source: Path, path: Path) -> None:
    """Copies a file with its mode and times to `path`, whose folder is made: a reader sees the old
    file or the whole new one, and several may do this at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        shutil.copy2(source, beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


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
        if error.errno == errno.EIO:
            raise BadInput(
                f"A disk failed while writing {where} ({reason}); check it, then run the same "
                "command again, it goes on where it stopped."
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
    """Holds `folder` for one export; released by the system even if the process is killed."""
    busy = (
        f"{folder} is in use by another export (process {_PROCESS}); wait for it to end, or choose "
        "another output folder."
    )
    with hold(folder / ".export.lock", busy):
        yield


@contextlib.contextmanager
def hold(path: Path, busy: str) -> Iterator[None]:
    """Locks the file `path`, which is made, and removed afterwards; its folder must be there.
    Another thread or process that holds it already is `BadInput(busy)`, where `{process}` becomes
    the number of that process. Released by the system even if this process is killed."""
    with full_disk_is_bad_input(path):
        handle = _lock(path, wait=False)
    if handle is None:
        raise BadInput(busy.replace(_PROCESS, _owner(path)))
    with _held(path, handle):
        yield


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """As `hold`, but waits until nobody else holds it. A file that cannot be made is an
    `OSError`."""
    handle = _lock(path, wait=True)
    assert handle is not None
    with _held(path, handle):
        yield


@contextlib.contextmanager
def _held(path: Path, handle: int) -> Iterator[None]:
    try:
        with full_disk_is_bad_input(path):
            os.truncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def _lock(path: Path, *, wait: bool) -> int | None:
    """The locked file, open; None when another holds it and `wait` is off."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last owner may have removed the file after we opened it: then it locks nothing.
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        os.close(handle)


def _owner(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip() or "unknown"
    except OSError:  # it has just ended
        return "unknown"
