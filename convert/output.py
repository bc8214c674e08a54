"""One output file, written from its beginning to its end and hashed on the way.

Blocks go to the disk past the page cache where the file system allows it (O_DIRECT): the system
spends 0.7 to 2.5 seconds of a core on every GiB that it has to find pages for, and nobody reads
them again (measured).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
from typing import Any

import numpy as np

from imp_deploy.convert.layout import OutputFile

Array = np.ndarray[Any, np.dtype[Any]]

# A larger one writes no faster (measured for 1 to 8 MiB).
BUFFER_BYTES = 4 << 20

# What O_DIRECT wants offsets, lengths and addresses to be multiples of, on any usual disk.
_BLOCK = 4096


class Output:
    """A file of known size that is filled in order, by one thread at a time.

    `handle`: a descriptor to read and write. The first `start` bytes are there already, from an
    earlier run; they are read back for the hash.
    """

    def __init__(self, handle: int, file: OutputFile, start: int) -> None:
        self.handle = handle
        self._file = file
        self._start = start
        self._buffer: Array = np.frombuffer(mmap.mmap(-1, BUFFER_BYTES), dtype=np.uint8)
        self._filled = 0
        self._written = 0
        self._direct = False
        self._hash = hashlib.sha256()

    @property
    def position(self) -> int:
        """The bytes that were appended."""
        return self._written + self._filled

    @property
    def written(self) -> int:
        """The bytes that the system has; `fdatasync` makes them durable. Any thread may ask."""
        return self._written

    def begin(self) -> None:
        """Must come first: the header, or what an earlier run has left."""
        if self._start:
            self._read_back()
        self._set_direct(True)
        if not self._start:
            self.append(np.frombuffer(self._file.header, dtype=np.uint8))

    def pad(self, offset: int) -> None:
        """Zeros up to `offset` from the start of the file."""
        assert offset >= self.position, (self._file.about.path, offset, self.position)
        self.append(np.zeros(offset - self.position, dtype=np.uint8))

    def append(self, data: Array) -> None:
        """`data`: contiguous, of any type."""
        left: Array = data.reshape(-1).view(np.uint8)
        while left.size:
            end = min(self._filled + left.size, self._buffer.size)
            count = end - self._filled
            np.copyto(self._buffer[self._filled : end], left[:count])
            self._filled, left = end, left[count:]
            if end == self._buffer.size:
                self._flush(end)

    def finish(self) -> str:
        """Writes what is left; the SHA-256 of the whole file."""
        self.pad(self._file.size)
        self._flush(self._filled // _BLOCK * _BLOCK)
        self._set_direct(False)  # the rest is no whole block
        self._flush(self._filled)
        return self._hash.hexdigest()

    def _read_back(self) -> None:
        """Hashes the whole blocks of the bytes that are there, and buffers the rest of them."""
        blocks = self._start // _BLOCK * _BLOCK
        while self._written < blocks:
            part = self._buffer[: min(blocks - self._written, self._buffer.size)]
            self._read(part, self._written)
            self._hash.update(part.data)
            self._written += part.size
        self._filled = self._start - blocks
        self._read(self._buffer[: self._filled], blocks)

    def _read(self, part: Array, offset: int) -> None:
        view = part.data
        while view:
            got = os.preadv(self.handle, [view], offset)
            if got == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO), self._file.about.path)
            view, offset = view[got:], offset + got

    def _flush(self, count: int) -> None:
        """Writes and hashes the first `count` buffered bytes. An error changes nothing."""
        part = self._buffer[:count]
        view, offset = part.data, self._written
        while view:
            try:
                done = os.pwrite(self.handle, view, offset)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._direct:
                    raise
                self._set_direct(False)  # a file system that takes the flag and no such write
                continue
            view, offset = view[done:], offset + done
        self._hash.update(part.data)
        rest = self._filled - count
        self._buffer[:rest] = self._buffer[count : self._filled]
        self._written, self._filled = self._written + count, rest

    def _set_direct(self, on: bool) -> None:
        flags = fcntl.fcntl(self.handle, fcntl.F_GETFL)
        flags = flags | os.O_DIRECT if on else flags & ~os.O_DIRECT
        with contextlib.suppress(OSError):  # EINVAL: the file system knows no such thing
            fcntl.fcntl(self.handle, fcntl.F_SETFL, flags)
            self._direct = on
