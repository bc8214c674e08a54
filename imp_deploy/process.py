"""The only module that starts processes."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from imp_deploy.errors import DeviceError


@dataclass(frozen=True)
class Finished:
    """A process that ended by itself. `returncode` is negative for a signal."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    def evidence(self) -> str:
        """Command, exit status and the last lines of stderr, for an error message."""
        tail = "\n".join((self.stderr or self.stdout).strip().splitlines()[-12:])
        return f"`{' '.join(self.argv)}` ended with status {self.returncode}:\n{tail}"


def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Finished:
    """Runs to the end and returns what happened; a missing program is a `DeviceError`."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise DeviceError(f"The program {argv[0]} was not found; install it.") from None
    except subprocess.TimeoutExpired:
        raise DeviceError(f"`{' '.join(argv)}` did not end within {timeout:.0f} s.") from None
    return Finished(tuple(argv), done.returncode, done.stdout, done.stderr)


def follow(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Runs to the end and hands over every line as it is printed, stderr among stdout; the end of
    it is kept as `stdout`. The process is killed when `on_line` raises."""
    kept: deque[str] = deque(maxlen=200)
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        )
    except FileNotFoundError:
        raise DeviceError(f"The program {argv[0]} was not found; install it.") from None
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                kept.append(line)
                on_line(line.rstrip("\n"))
            process.wait()
        except BaseException:
            process.kill()
            raise
    return Finished(tuple(argv), process.returncode, "".join(kept), "")


def start(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None,
    stderr: int,
    before: Callable[[], None] | None = None,
    talk: bool = False,
) -> subprocess.Popen[bytes]:
    """Starts a process in a session of its own and does not wait for it; `before` runs in it first.
    `stderr`: a handle. With `talk` its stdin and stdout are pipes, otherwise they are nothing."""
    way = subprocess.PIPE if talk else subprocess.DEVNULL
    try:
        return subprocess.Popen(
            list(argv),
            stdin=way,
            stdout=way,
            stderr=stderr,
            env=environment,
            preexec_fn=before,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise DeviceError(f"The program {argv[0]} was not found; install it.") from None
