"""The `sync:` service: stat, list, send and receive files.

A request is four letters, a 32-bit length and a path. File content travels as DATA chunks of at
most 64 KiB, ended by DONE; chunks and packets of the stream have nothing to do with each other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from imp_deploy.bench.virtual.link import Closed, Stream

_HEADER = struct.Struct("<4sI")
_STAT = struct.Struct("<4s3I")
_STAT_2 = struct.Struct("<4sI2Q4IQ3q")
_ENTRY = struct.Struct("<4s4I")
_CHUNK = 64 << 10
_PACKET_CHUNKS = 15  # with their headers, they stay below the largest packet of 1 MiB
_LONGEST_PATH = 1024


class Storage(Protocol):
    def place(self, path: str, *, follow: bool) -> Path:
        """The file of this machine that stands for the phone's `path`."""
        ...

    def take(self, count: int) -> bool:
        """Whether `count` more bytes fit on the phone's disk; they are then counted."""
        ...


class _Incoming:
    """The stream as a row of bytes."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._rest = memoryview(b"")

    def exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            parts += self.some(count - len(parts))
        return bytes(parts)

    def some(self, most: int) -> memoryview:
        """At least one byte, without copying."""
        while not self._rest:
            self._rest = memoryview(self._stream.read())
        part, self._rest = self._rest[:most], self._rest[most:]
        return part

    def header(self) -> tuple[bytes, int]:
        if len(self._rest) >= _HEADER.size:
            letters, count = _HEADER.unpack_from(self._rest)
            self._rest = self._rest[_HEADER.size :]
        else:
            letters, count = _HEADER.unpack(self.exactly(_HEADER.size))
        return letters, count


def serve(stream: Stream, storage: Storage) -> None:
    incoming = _Incoming(stream)
    answers: dict[bytes, Callable[[str], None]] = {
        b"STAT": lambda path: stream.write(_stat(storage, path)),
        b"LST2": lambda path: stream.write(_stat_2(storage, path, b"LST2", follow=False)),
        b"STA2": lambda path: stream.write(_stat_2(storage, path, b"STA2", follow=True)),
        b"LIST": lambda path: stream.write(_list(storage, path)),
        b"RECV": lambda path: _receive(storage, path, stream),
        b"SEND": lambda path: _send(storage, path, stream, incoming),
    }
    while True:
        letters, length = incoming.header()
        answer = answers.get(letters)
        if letters == b"QUIT":
            return
        if answer is None or length > _LONGEST_PATH:
            stream.write(_failure("unknown request or path too long"))
            return
        answer(incoming.exactly(length).decode(errors="surrogateescape"))


def _failure(message: str) -> bytes:
    text = message.encode(errors="replace")
    return _HEADER.pack(b"FAIL", len(text)) + text


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _seconds(value: float) -> int:
    return int(value) & 0xFFFFFFFF


def _stat(storage: Storage, path: str) -> bytes:
    try:
        found = os.lstat(storage.place(path, follow=False))
    except OSError:
        return _STAT.pack(b"STAT", 0, 0, 0)
    size = found.st_size & 0xFFFFFFFF
    return _STAT.pack(b"STAT", found.st_mode, size, _seconds(found.st_mtime))


def _stat_2(storage: Storage, path: str, letters: bytes, *, follow: bool) -> bytes:
    try:
        found = os.lstat(storage.place(path, follow=follow))
    except OSError as error:
        return _STAT_2.pack(letters, error.errno or errno.EIO, *([0] * 10))
    return _STAT_2.pack(
        letters,
        0,
        *(found.st_dev, found.st_ino, found.st_mode, found.st_nlink, found.st_uid, found.st_gid),
        found.st_size,
        *(int(found.st_atime), int(found.st_mtime), int(found.st_ctime)),
    )


def _list(storage: Storage, path: str) -> bytes:
    out = bytearray()
    with contextlib.suppress(OSError):  # as on a phone: what cannot be listed is empty
        folder = storage.place(path, follow=True)
        for name in (".", "..", *(path.name for path in folder.iterdir())):
            with contextlib.suppress(OSError):
                found = os.lstat(folder / name)
                raw = os.fsencode(name)
                size = found.st_size & 0xFFFFFFFF
                modified = _seconds(found.st_mtime)
                out += _ENTRY.pack(b"DENT", found.st_mode, size, modified, len(raw)) + raw
    return bytes(out + _ENTRY.pack(b"DONE", 0, 0, 0, 0))


def _receive(storage: Storage, path: str, stream: Stream) -> None:
    try:
        file = storage.place(path, follow=True).open("rb", buffering=0)
    except OSError as error:
        stream.write(_failure(f"open failed: {_reason(error)}"))
        return
    step = _HEADER.size + _CHUNK
    packet = bytearray(_PACKET_CHUNKS * step)
    view = memoryview(packet)
    with file:
        while True:
            filled = 0
            for place in range(0, len(packet), step):
                got = file.readinto(view[place + _HEADER.size : place + step])
                if not got:
                    break
                _HEADER.pack_into(packet, place, b"DATA", got)
                filled = place + _HEADER.size + got
                if got < _CHUNK:
                    break
            if filled == 0:
                break
            stream.write(view[:filled])
    stream.write(_HEADER.pack(b"DONE", 0))


def _send(storage: Storage, request: str, stream: Stream, incoming: _Incoming) -> None:
    path, _, mode_text = request.rpartition(",")
    mode = int(mode_text) if mode_text.isdigit() else 0o100644
    if not path:
        path = request
    try:
        place = storage.place(path, follow=not stat.S_ISLNK(mode))
        place.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISLNK(mode):
            modified = _write_link(place, incoming)
        else:
            modified = _write_file(storage, place, mode, incoming)
    except OSError as error:
        stream.write(_failure(_reason(error)))
        with contextlib.suppress(Closed):
            _skip(incoming)
        return
    with contextlib.suppress(OSError):
        os.utime(place, (modified, modified), follow_symlinks=False)
    stream.write(_HEADER.pack(b"OKAY", 0))


def _write_file(storage: Storage, place: Path, mode: int, incoming: _Incoming) -> int:
    """Writes the chunks to `place` and returns the time of modification that ends them. A file that
    is not complete is removed, as a phone does."""
    with contextlib.suppress(FileNotFoundError):
        place.unlink()
    # As on a phone, what the owner may do everybody may.
    owner = mode >> 6 & 7
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    handle = os.open(place, flags, owner << 6 | owner << 3 | owner)
    try:
        os.fchmod(handle, owner << 6 | owner << 3 | owner)
        while True:
            letters, count = incoming.header()
            if letters == b"DONE":
                return count
            if letters != b"DATA" or count > _CHUNK:
                raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
            if not storage.take(count):
                _drop(incoming, count)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            while count:
                part = incoming.some(count)
                count -= len(part)
                while part:
                    part = part[os.write(handle, part) :]
    except BaseException:
        with contextlib.suppress(OSError):
            place.unlink()
        raise
    finally:
        os.close(handle)


def _write_link(place: Path, incoming: _Incoming) -> int:
    target = b""
    while True:
        letters, count = incoming.header()
        if letters == b"DONE":
            with contextlib.suppress(FileNotFoundError):
                place.unlink()
            place.symlink_to(os.fsdecode(target.rstrip(b"\0")))
            return count
        target += incoming.exactly(count)


def _drop(incoming: _Incoming, count: int) -> None:
    while count:
        count -= len(incoming.some(count))


def _skip(incoming: _Incoming) -> None:
    """Reads what the host still sends of a file that failed."""
    while True:
        letters, count = incoming.header()
        if letters != b"DATA":
            return
        _drop(incoming, count)
