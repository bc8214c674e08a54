"""Jobs on a device that survive the connection, and the host.

A job has a folder: `stdout`, `stderr`, `pid` while and after it runs, and `status`, the exit status
of its program, once that has ended. `pid` holds the process group, its start time in ticks since
boot (field 22 of /proc/PID/stat), and the boot's id, so that another process that got the same
number later is never taken for ours.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from imp_deploy.bench.device import Device, quoted
from imp_deploy.errors import DeviceError

_BOOT = "/proc/sys/kernel/random/boot_id"

# The name of a program may hold spaces and brackets: the fields are counted after the last ") ",
# where field 3 of proc(5), the state, comes first.
_FIELDS = """s=$(cat /proc/$1/stat 2>/dev/null) || s=
s=${s##*") "}; set -- $s; state=$1; began=${20}"""

_JOB = f"""
trap '' HUP
me=$$
fields() {{ {_FIELDS}; }}
fields $me
echo "$me $began $(cat {_BOOT})" > pid.new && mv pid.new pid
"$@"
echo $? > status.new && mv status.new status
"""

_ALIVE = f"""
alive() {{
[ -s pid ] || return 1
read pid start boot < pid
[ "$boot" = "$(cat {_BOOT})" ] || return 1
fields() {{ {_FIELDS}; }}
fields $pid
[ "$began" = "$start" ] && [ "$state" != Z ]
}}
"""

_START = """
if alive; then [ "$(cat command)" = {same} ]; exit $((3 * $?)); fi
rm -f pid pid.new status status.new
echo {same} > command || exit 1
setsid=$(command -v setsid)
$setsid sh -c {job} imp-job {argv} </dev/null >stdout 2>stderr &
i=0; while [ ! -s pid ] && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.1 2>/dev/null || sleep 1; done
[ -s pid ] || { cat stderr; exit 4; }
"""

_KILL = """
alive || exit 0
kill -9 -- -$pid 2>/dev/null || kill -9 -$pid 2>/dev/null || kill -9 $pid
i=0; while alive && [ $i -lt 50 ]; do i=$((i+1)); sleep 0.1 2>/dev/null || sleep 1; done
if alive; then exit 5; fi
"""


def start(device: Device, argv: Sequence[str], folder: str) -> None:
    """Starts `argv` (not parsed again by a shell) with `folder`, which is made, as its working
    folder. Returns once the job is there. While it is at work, the same call does nothing (so it
    may be repeated when the link broke in the middle), and another job in its folder is refused."""
    line = quoted(argv)
    body = _START.replace("{job}", shlex.quote(_JOB)).replace("{argv}", line)
    body = body.replace("{same}", shlex.quote(line))
    made = f"mkdir -p {shlex.quote(folder)} && cd {shlex.quote(folder)} || exit 1\n"
    output = device.shell(f"{made}{_ALIVE}{body}")
    if output.status == 3:
        raise DeviceError(
            f"{device.name}: a job is at work in {folder} already; wait for it, or stop it first."
        )
    if output.status != 0:
        raise DeviceError(
            f"{device.name}: `{quoted(argv)}` could not be started in {folder} (status "
            f"{output.status}): {output.text.strip()[-500:]}"
        )


def running(device: Device, folder: str) -> bool:
    """Whether the job that was started in `folder` is still at work."""
    output = device.shell(
        f"cd {shlex.quote(folder)} 2>/dev/null || exit 1\n{_ALIVE}\nalive && echo alive"
    )
    return output.text.strip() == "alive"


def status(device: Device, folder: str) -> int | None:
    """The exit status of the job's program, above 128 for a signal; None while it runs, and when
    the job itself was killed."""
    text = device.shell(f"cat {shlex.quote(folder)}/status 2>/dev/null").text.strip()
    return int(text) if text.isdigit() else None


def kill(device: Device, folder: str) -> None:
    """Ends the job with everything that it started; no error when it has ended already."""
    output = device.shell(f"cd {shlex.quote(folder)} 2>/dev/null || exit 0\n{_ALIVE}{_KILL}")
    if output.status != 0:
        raise DeviceError(f"{device.name}: the job in {folder} cannot be ended: {output.text}")
