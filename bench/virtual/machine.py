"""The phone's computer: its root folder, and the programs that run in it."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from imp_deploy import process
from imp_deploy.bench.virtual import rootfs
from imp_deploy.bench.virtual.guest import Channels, Guest, channels
from imp_deploy.bench.virtual.socs import Soc
from imp_deploy.bench.virtual.tools import Tools
from imp_deploy.errors import DeviceError

_MARK = "IMP_VIRTUAL_PHONE"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Machine:
    def __init__(self, folder: Path, soc: Soc, tools: Tools) -> None:
        self.root = folder / "root"
        self.proc = folder / "proc"
        self.aside = folder / "stalled"
        self._folder = folder
        self._soc = soc
        self._tools = tools
        self._numbers = itertools.count(1)
        self._running: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        # The system ends a child with the *thread* that started it, so one thread starts them all.
        self._starter = ThreadPoolExecutor(1)

    def boot(self) -> None:
        """Makes the root anew and runs a first command in it."""
        kill_all(self._left_over)
        rootfs.build(self.root, self._tools.busybox)
        # Something for qemu to be bound over: else every proot makes it, and takes it away from
        # under the others when it ends (their programs then die with status 182).
        qemu = self._folder / "host" / self._tools.qemu.relative_to("/")
        qemu.parent.mkdir(parents=True, exist_ok=True)
        qemu.touch()
        shutil.rmtree(self._folder / "tmp", ignore_errors=True)
        (self._folder / "tmp").mkdir()
        with contextlib.suppress(FileNotFoundError):
            (self._folder / "log").unlink()

    def check(self) -> None:
        """`DeviceError` with the evidence when programs cannot run."""
        guest = self.start("exit 3", terminal=False, apart=False, term="dumb")
        status = guest.status()
        guest.release()
        if status != 3:
            log = (self._folder / "log").read_text(errors="replace").strip()
            raise DeviceError(
                "The virtual phone's shell does not start; proot needs ptrace, which some "
                f"containers forbid (Docker: `--cap-add SYS_PTRACE`). It said:\n{log}"
            )

    def start(self, command: str, *, terminal: bool, apart: bool, term: str) -> Guest:
        folder = self.root / f"dev/.adbd/{next(self._numbers)}"
        ways = channels(folder, terminal=terminal, apart=apart)
        inside = f"/dev/.adbd/{folder.name}"
        together = "apart" if apart else "together"
        argv = ["/system/bin/adbd-session", inside, ways.terminal, together, command]
        try:
            proot = self._starter.submit(self._start, argv, term).result()
        except BaseException:
            _close(ways)
            raise
        with self._lock:
            self._running.append(proot)
        return Guest(ways, proot)

    def _start(self, argv: list[str], term: str) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": "/system/bin",
            "HOME": "/",
            "SHELL": "/system/bin/sh",
            "TERM": term,
            "TMPDIR": "/data/local/tmp",
            "ANDROID_DATA": "/data",
            "ANDROID_ROOT": "/system",
            "HOSTNAME": "localhost",
            "USER": "shell",
            "PROOT_TMP_DIR": str(self._folder / "tmp"),
            _MARK: str(self._folder),
        }
        with (self._folder / "log").open("ab") as log:
            return process.start(
                [*self._proot(), *argv],
                environment=environment,
                stderr=log.fileno(),
                before=_before,
            )

    def _proot(self) -> list[str]:
        # proot shows the whole machine under /host-rootfs, for qemu's libraries: hidden, but for
        # qemu itself.
        qemu = str(self._tools.qemu)
        pairs = rootfs.bindings(self.proc)
        pairs += [(str(self._folder / "host"), "/host-rootfs"), (qemu, f"/host-rootfs{qemu}")]
        options = [part for pair in pairs for part in ("-b", ":".join(pair))]
        cpu = f"{qemu} -cpu {self._soc.qemu_cpu}"
        return [str(self._tools.proot), "-q", cpu, "-r", str(self.root), *options, "-w", "/"]

    def tick(self) -> None:
        """Forgets what ended."""
        with self._lock:
            self._running = [p for p in self._running if p.poll() is None]
            ours = {p.pid for p in self._running}
        for pid, parent, state in processes():
            if parent == os.getpid() and state == "Z" and pid not in ours:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def guests(self) -> list[int]:
        """Every process of the phone."""
        return descendants(os.getpid())

    def arm_programs(self, guests: list[int], *, older_than: float) -> list[int]:
        """Those of `guests` that qemu runs, for longer than so many seconds."""
        qemu = os.fsencode(self._tools.qemu)
        latest = time.clock_gettime(time.CLOCK_BOOTTIME) - older_than
        return [
            pid
            for pid in guests
            if _program(pid) == qemu and _started(pid) <= latest and self._loaded(pid)
        ]

    def _loaded(self, pid: int) -> bool:
        """Whether qemu has come as far as the program."""
        with contextlib.suppress(OSError):
            return os.fsencode(self.root) in Path(f"/proc/{pid}/maps").read_bytes()
        return False

    def without_proot(self, guests: list[int]) -> list[int]:
        proot = os.fsencode(self._tools.proot)
        return [pid for pid in guests if _program(pid) != proot]

    def supervises(self, pid: int) -> bool:
        """Whether it is our runner that only waits for others of its kind."""
        return b"--plan" in _arguments(pid)

    def kill_family(self, pid: int) -> None:
        """Ends a program and everything that the same command line of a host started."""
        proot = _field(pid, "TracerPid:")
        kill_all(lambda: [p for p in self.guests() if _field(p, "TracerPid:") == proot])

    def power_off(self) -> None:
        """Ends every process of the phone."""
        kill_all(self.guests)

    def _left_over(self) -> list[int]:
        """Processes of an earlier start whose server was killed."""
        mark = f"{_MARK}={self._folder}\0".encode()
        found = []
        for pid, _, _ in processes():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(pid)
        return found


def _close(ways: Channels) -> None:
    for handle in {ways.stdin, ways.stdout, ways.stderr, ways.status, ways.kept_open} - {None}:
        os.close(handle)  # type: ignore[arg-type]


def _before() -> None:
    """In the new process: on SIGQUIT proot ends everything that it started, so that nothing
    survives the phone."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a full disk is an error of write(), not an end
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which a server under nohup ignores


def strike(pid: int, number: int) -> None:
    """Sends the signal to the program's main thread. One sent to the whole process goes to another
    thread where the main one holds signals back for a moment; and qemu has a thread of its own that
    accepts SIGILL and is no part of the program: there it ends qemu with SIGSEGV."""
    _libc.tgkill(pid, pid, number)


def kill_all(pids: Callable[[], list[int]]) -> None:
    """Until there are none: one of them may just have started another."""
    end = time.monotonic() + 10
    while (left := pids()) and time.monotonic() < end:
        # Parents before their children, or a shell would go on with its next line; but proot last:
        # without it, the others see this machine's files.
        for pid in sorted(left, key=_is_proot):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _program(pid: int) -> bytes:
    return _arguments(pid)[0]


def _arguments(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return [b""]


def _is_proot(pid: int) -> bool:
    return _program(pid).split(b"/")[-1] == b"proot"


def _started(pid: int) -> float:
    """Seconds since the machine's boot; never, for a process that is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return int(text[text.rindex(")") + 2 :].split()[19]) / os.sysconf("SC_CLK_TCK")
    return float("inf")


def _field(pid: int, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0


def processes() -> list[tuple[int, int, str]]:
    """Process, parent and state of every process of this machine that can be seen."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                text = Path(entry.path, "stat").read_text(errors="replace")
                state, parent = text[text.rindex(")") + 2 :].split()[:2]
                found.append((int(entry.name), int(parent), state))
    return found


def descendants(ancestor: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, parent, state in processes():
        if state != "Z":
            children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
