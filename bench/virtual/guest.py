"""Programs of the phone: started under proot, which gives them the phone's root without privileges
and runs AArch64 files under qemu.

stdin, stdout and stderr are FIFOs (or a terminal) that the first shell in the phone opens itself:
proot stays for as long as anything it started runs, and would keep inherited pipes open, so that
the host would wait for a job that went into the background.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import struct
import subprocess
import termios
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_STARTUP_SECONDS = 30.0
_WINDOW = (24, 80, 0, 0)  # rows and columns, until the host says others
_LOST_STATUS = 255  # what a host gets when the shell died without a status of its own


@dataclass(frozen=True, kw_only=True)
class Channels:
    """The handles between a host and a guest; `inside` is their folder, which both sides see."""

    folder: Path
    stdin: int
    stdout: int
    stderr: int | None
    status: int
    terminal: str = ""
    kept_open: int | None = None


def channels(folder: Path, *, terminal: bool, apart: bool) -> Channels:
    folder.mkdir()
    os.mkfifo(folder / "status")
    status = os.open(folder / "status", os.O_RDONLY | os.O_NONBLOCK)
    if terminal:
        master, other = os.openpty()
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", *_WINDOW))
        return Channels(
            folder=folder,
            stdin=master,
            stdout=master,
            stderr=None,
            status=status,
            terminal=os.ttyname(other),
            kept_open=other,
        )
    for name in ("in", "out", "err"):
        os.mkfifo(folder / name)
    reading = os.O_RDONLY | os.O_NONBLOCK
    return Channels(
        folder=folder,
        # For both directions: opening does not wait for the guest, and nothing is lost before.
        stdin=os.open(folder / "in", os.O_RDWR | os.O_NONBLOCK),
        stdout=os.open(folder / "out", reading),
        stderr=os.open(folder / "err", reading) if apart else None,
        status=status,
    )


class Guest:
    """One command line of a host, from its start to its exit status."""

    def __init__(self, ways: Channels, proot: subprocess.Popen[bytes]) -> None:
        self._ways = ways
        self._proot = proot
        self._told = b""
        self._lock = threading.Lock()
        self._stdin_open = True
        self._released = False
        self._held = ways.kept_open

    @property
    def stdout(self) -> int:
        return self._ways.stdout

    @property
    def stderr(self) -> int | None:
        return self._ways.stderr

    def dead(self) -> bool:
        return self._proot.poll() is not None

    def opened(self) -> None:
        """Waits until the command has its streams. A terminal ends with the last that has it open,
        so it is held open until then."""
        self._lines(1, _STARTUP_SECONDS)
        with self._lock:
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def status(self) -> int:
        """Waits for the shell's end; above 128 a signal ended the command."""
        lines = self._lines(2, None)
        return int(lines[1]) if len(lines) > 1 else _LOST_STATUS

    def feed(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest and not self._released and not self.dead():
            try:
                with self._lock:
                    if not self._stdin_open or self._released:
                        return
                    rest = rest[os.write(self._ways.stdin, rest) :]
            except BlockingIOError:
                time.sleep(0.002)
            except OSError:
                return

    def close_stdin(self) -> None:
        """The command reads an end of file when it has read everything."""
        if self._ways.terminal:
            self.feed(b"\x04")
            return
        self._lines(1, _STARTUP_SECONDS)  # before it opened its stdin, it would wait for ever
        with self._lock:
            if self._stdin_open and not self._released:
                self._stdin_open = False
                os.close(self._ways.stdin)

    def resize(self, text: bytes) -> None:
        """A terminal's new size, as `ROWSxCOLUMNS,WIDTHxHEIGHT` with sizes in pixels."""
        if not self._ways.terminal:
            return
        with contextlib.suppress(ValueError, OSError):
            cells, pixels = text.rstrip(b"\0").decode().split(",")
            rows, columns = (int(v) for v in cells.split("x"))
            width, height = (int(v) for v in pixels.split("x"))
            size = struct.pack("4H", rows, columns, width, height)
            fcntl.ioctl(self._ways.stdin, termios.TIOCSWINSZ, size)

    def hang_up(self) -> None:
        """What a phone does when the host went away: SIGHUP for the command's shell."""
        lines = self._lines(1, _STARTUP_SECONDS)
        if not lines or self.dead():
            return
        shell = int(lines[0])
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
            for pid in (*map(int, children), shell):
                os.kill(pid, signal.SIGHUP)

    def release(self) -> None:
        with self._lock:
            self._released = True
            handles = {self._ways.stdout, self._ways.status}
            if self._ways.stderr is not None:
                handles.add(self._ways.stderr)
            if self._stdin_open:
                handles.add(self._ways.stdin)
            if self._held is not None:
                handles.add(self._held)
            self._stdin_open = False
            for handle in handles:
                os.close(handle)
        shutil.rmtree(self._ways.folder, ignore_errors=True)

    def _lines(self, count: int, seconds: float | None) -> list[bytes]:
        """The first lines that the shell said of itself: its process, its exit status. Fewer when
        it died, or after `seconds`."""
        end = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._ways.status, select.POLLIN)
        while True:
            with self._lock:
                if self._released:
                    break
                dead = self.dead()
                with contextlib.suppress(BlockingIOError):
                    data = os.read(self._ways.status, 64)
                    self._told += data
                    # Nobody has it open: not yet, or not any more.
                    dead = dead or (not data and bool(self._told))
            if self._told.count(b"\n") >= count or dead:
                break
            if end is not None and time.monotonic() > end:
                break
            poll.poll(20)
        return self._told.split(b"\n")[:-1]
