"""Brings files to a device once: there they live in `ROOT/files` under their SHA-256.

A file goes over in pieces, as `<sha256>.piece`, which are put together as `<sha256>.partial`; when
the device has found its hash right, it gets its name, and `<sha256>.ok` notes what the file system
says of it (a file written to later does not match any more, and is hashed again). So whatever
breaks, and wherever, the same call goes on with what is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeVar, cast

from imp_deploy.bench.device import Device, LinkLost
from imp_deploy.bench.disk import free_bytes
from imp_deploy.bench.store_files import (
    MIB,
    There,
    Wanted,
    append,
    folder,
    path_of,
    require_hash,
    require_size,
    survey,
    usable_bytes,
    verify,
)
from imp_deploy.bench.store_lock import Lock
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.progress import Progress

__all__ = ["Deployed", "Wanted", "deploy", "folder"]

_T = TypeVar("_T")

PIECE_BYTES = 256 * MIB
SMALLEST_PIECE = 16 * MIB
RESERVE_BYTES = 32 * MIB
"""Kept free beside the files: for results, logs, and what else writes to a phone's disk."""

PAUSES = (1.0, 3.0, 9.0)
"""Seconds before each new connection after a break; a finished piece starts the row again."""


@dataclass(frozen=True)
class Deployed:
    """`paths`: on the device, by hash. `pushed_bytes`: what went over in this call. `notes`:
    sentences about what was found damaged, or had to be done again."""

    paths: dict[str, str]
    pushed_bytes: int
    notes: tuple[str, ...]


def deploy(
    device: Device,
    wanted: Sequence[Wanted],
    progress: Progress,
    *,
    note: Callable[[str], None] | None = None,
    piece_bytes: int = PIECE_BYTES,
    pauses: Sequence[float] = PAUSES,
) -> Deployed:
    """Brings every wanted file to the device that is not there yet, whole and verified.

    `progress` counts bytes, and only when something is pushed; a piece that has to be sent again is
    taken back with a negative count. `note` is told at once what `Deployed.notes` collects.
    `BadInput` when a local file is not what it should be; `DeviceError` when there is not enough
    space, or the connection breaks more often in a row than there are `pauses`: then the same call
    goes on later. Two programs that deploy to one device wait for each other."""
    files = _distinct(wanted)
    work = _Work(device, progress, piece_bytes, tuple(pauses), note)
    for file in files:
        require_size(file)
    there = work.patiently(lambda: survey(device, files))
    if not all(there[file.sha256].verified for file in files):
        # Before the lock is taken: this may take minutes, in which the device hears nothing.
        for file in files:
            if not there[file.sha256].complete:
                work.require_hash(file)
        lock = Lock(device, work.say)
        try:
            work.patiently(lock.take)
            # Again: another program may have brought some of them in the meantime.
            work.bring(files, work.patiently(lambda: survey(device, files)))
        finally:
            lock.release()
    paths = {file.sha256: path_of(device, file) for file in files}
    return Deployed(paths, work.pushed, tuple(work.notes))


class _Work:
    """One call of `deploy`."""

    def __init__(
        self,
        device: Device,
        progress: Progress,
        piece_bytes: int,
        pauses: tuple[float, ...],
        note: Callable[[str], None] | None,
    ) -> None:
        self.device = device
        self.progress = progress
        self.piece_bytes = piece_bytes
        self.pauses = pauses
        self.note = note
        self.notes: list[str] = []
        self.pushed = 0
        self.breaks = 0
        self.hashed: set[str] = set()

    def require_hash(self, file: Wanted) -> None:
        """Hashes a local file, once."""
        if file.sha256 not in self.hashed:
            require_hash(file)
            self.hashed.add(file.sha256)

    def say(self, text: str) -> None:
        self.notes.append(text)
        if self.note is not None:
            self.note(text)

    def bring(self, files: Sequence[Wanted], there: dict[str, There]) -> None:
        missing = []
        for file in files:
            state = there[file.sha256]
            if state.verified:
                continue
            if state.complete and self._whole(file):
                continue
            # At once: hashing it there has just said that the lock's owner lives.
            self.require_hash(file)
            missing.append(file)
        if not missing:
            return
        partial = {file.sha256: there[file.sha256].partial_bytes for file in missing}
        needed = sum(file.bytes - usable_bytes(partial[file.sha256], file) for file in missing)
        self.patiently(lambda: self._require_space(needed, missing))
        self.progress.start("push", needed)
        for file in missing:
            self._bring_one(file)

    def _whole(self, file: Wanted) -> bool:
        """Hashes a file that is there; one that is damaged is removed."""
        if self.patiently(lambda: verify(self.device, file, "")):
            return True
        self.say(f"{self.device.name}: {file.path.name} was damaged there and is pushed again.")
        return False

    def _require_space(self, needed: int, missing: Sequence[Wanted]) -> None:
        # The last piece is there twice while it is copied to its place.
        most = max(file.bytes for file in missing)
        extra = min(self.piece_bytes, most) if most > self.piece_bytes else 0
        free = free_bytes(self.device)
        if free < needed + extra + RESERVE_BYTES:
            raise DeviceError(
                f"{self.device.name} has {free / 2**20:.0f} MiB free at {self.device.root} and "
                f"{(needed + extra + RESERVE_BYTES) / 2**20:.0f} MiB are needed; free some space "
                "on it, remove what earlier runs left with `imp-deploy bench --clean`, or ask for "
                "fewer --bits or --resolution."
            )

    def _bring_one(self, file: Wanted) -> None:
        for attempt in range(2):
            self._push(file)
            if self.patiently(lambda: verify(self.device, file, ".partial")):
                return
            require_hash(file)
            if attempt == 0:
                self.say(
                    f"{self.device.name}: {file.path.name} arrived damaged and is pushed again."
                )
        raise DeviceError(
            f"{self.device.name}: {file.path} arrived damaged twice (its SHA-256 there is not "
            f"{file.sha256}); try another cable or port, and check the phone's memory."
        )

    def _push(self, file: Wanted) -> None:
        while True:
            partial = self.patiently(
                lambda: self.device.stat(f"{path_of(self.device, file)}.partial")
            )
            if partial is not None and partial.bytes == file.bytes:
                return
            offset = usable_bytes(partial.bytes, file) if partial is not None else 0
            self._push_piece(file, offset, min(self.piece_bytes, file.bytes - offset))

    def _push_piece(self, file: Wanted, offset: int, count: int) -> None:
        sent = 0

        def advance(more: int) -> None:
            nonlocal sent
            sent += more
            self.progress.advance(more)

        piece = f"{path_of(self.device, file)}.piece"
        try:
            with file.path.open("rb", buffering=0) as opened:
                opened.seek(offset)
                source = cast(BinaryIO, _Part(opened, count))
                self.device.push(source, piece, mode=0o600, advance=advance)
            self.pushed += sent
            append(self.device, file, offset, count)
        except LinkLost as lost:
            self.progress.advance(-sent)
            # A cable that breaks every few seconds never brings a large piece over.
            self.piece_bytes = max(min(SMALLEST_PIECE, self.piece_bytes), self.piece_bytes // 2)
            self.piece_bytes -= self.piece_bytes % MIB if self.piece_bytes > MIB else 0
            self._again(lost)
        except DeviceError:
            with contextlib.suppress(DeviceError):
                self.device.shell(f"rm -f {shlex.quote(piece)}")
            raise
        except OSError as error:
            raise BadInput(
                f"{file.path} cannot be read ({error.strerror}); check its rights and its disk."
            ) from None
        else:
            self.breaks = 0

    def patiently(self, step: Callable[[], _T]) -> _T:
        """`step`, again after a break of the connection."""
        while True:
            try:
                return step()
            except LinkLost as lost:
                self._again(lost)

    def _again(self, lost: LinkLost) -> None:
        while True:
            if self.breaks >= len(self.pauses):
                raise DeviceError(
                    f"{lost} {self.breaks} new connections did not help; check cable and phone and "
                    "run the same command again, it goes on where it stopped."
                ) from None
            self.say(f"{lost} Trying again.")
            time.sleep(self.pauses[self.breaks])
            self.breaks += 1
            try:
                self.device.reconnect()
            except LinkLost as again:
                lost = again
            else:
                return


def _distinct(wanted: Sequence[Wanted]) -> tuple[Wanted, ...]:
    """Files of the same content are one file there, executable if one of them is."""
    found: dict[str, Wanted] = {}
    for file in wanted:
        executable = file.executable or (file.sha256 in found and found[file.sha256].executable)
        found[file.sha256] = dataclasses.replace(file, executable=executable)
    return tuple(found.values())


class _Part:
    """The next `left` bytes of a file, as a file."""

    def __init__(self, file: io.FileIO, left: int) -> None:
        self._file = file
        self._left = left

    def read(self, count: int) -> bytes:
        part = self._file.read(min(count, self._left))
        self._left -= len(part)
        return part

    def readinto(self, place: memoryview) -> int:
        count = self._file.readinto(place[: self._left]) or 0
        self._left -= count
        return count
