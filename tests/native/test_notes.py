"""What the supervisor notes of the phone's state before each run."""

from __future__ import annotations

import time

import pytest

from tests.native.jobs import Line
from tests.native.plans import NEVER, Planned, Supervisor, children, finish, gone, wait_until


def note(supervisor: Supervisor, command: str) -> Line:
    """The `started` line of one run with this command, after whatever may have happened."""
    log = supervisor.run([Planned(id="a", job=supervisor.job("a"))], note=command)
    assert [line["status"] for line in log] == ["started", "ended", "finished"]
    assert log[1]["exit"] == 0
    return log[0]


def test_the_state_before_every_run(supervisor: Supervisor) -> None:
    """Otherwise a screen that went off in the middle of the night is not seen in the results."""
    counter = supervisor.folder / "counter"
    command = f"echo screen on >>'{counter}'\ncat '{counter}'; echo 100 % \u20ac"
    runs = [Planned(id=name, job=supervisor.job(name)) for name in "ab"]
    log = supervisor.run(runs, note=command)
    notes = [line["note"] for line in log if line["status"] == "started"]
    assert notes == ["screen on\n100 % \u20ac\n", "screen on\nscreen on\n100 % \u20ac\n"]


def test_the_note_comes_after_the_rest(supervisor: Supervisor) -> None:
    """Otherwise the state is that of minutes before the run."""
    at = supervisor.folder / "at"
    began = time.time()
    runs = [Planned(id="a", job=supervisor.job("a"))]
    supervisor.run(runs, note=f"touch '{at}'", rest_celsius=NEVER, rest_seconds=1)
    assert at.stat().st_mtime - began > 0.9


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("true", ""),
        ("no-such-program", ""),
        ("echo one; no-such-program", "one\n"),  # what is known is known
        ("echo level: 99; printf 'level: 1'; kill -9 $$", "level: 99\n"),  # of 100, for instance
        ("echo unwanted >&2; printf wanted", "wanted"),
        ("printf 'a\\377b\\001'", "a\ufffdb\x01"),
        ("yes 123456789 | head -c 300000", "123456789\n" * 819),
        ("head -c 300000 /dev/zero | tr '\\0' x", ""),
        ("cat", ""),  # there is nothing on its stdin, and it does not wait for any
        ("sleep 0.01 & wait; echo waited", "waited\n"),  # a shell that is told of its child's end
        ("exec >&-; sleep 0.2", ""),
    ],
)
def test_what_counts_of_it(supervisor: Supervisor, command: str, printed: str) -> None:
    """Otherwise a service that fails, or prints too much or no text, hides what the others know or
    spoils the run."""
    line = note(supervisor, command)
    assert line["note"] == printed


def test_what_a_command_leaves_behind(supervisor: Supervisor) -> None:
    """Otherwise it computes on during the measurement, or is waited for before every run."""
    pid = supervisor.folder / "pid"
    began = time.monotonic()
    line = note(supervisor, f"sleep 60 & echo $! >'{pid}'; echo done")
    assert line["note"] == "done\n"
    assert time.monotonic() - began < 8
    assert gone(int(pid.read_text()))


def test_a_command_that_hangs(supervisor: Supervisor) -> None:
    """Otherwise a service of Android that hangs, as they do, hangs the measurement."""
    pid = supervisor.folder / "pid"
    began = time.monotonic()
    line = note(supervisor, f"echo one; printf tw; sleep 60 & echo $! >'{pid}'; wait")
    assert line["note"] == "one\n"
    assert 10 <= time.monotonic() - began < 16
    assert gone(int(pid.read_text()))


def test_asked_to_stop_during_the_note(supervisor: Supervisor) -> None:
    """Otherwise Ctrl-C takes effect only when a service that hangs has had its time."""
    runs = [Planned(id="a", job=supervisor.job("a"))]
    process = supervisor.start(runs, note="sleep 60")
    wait_until(lambda: children(process.pid), process)
    began = time.monotonic()
    process.terminate()
    finish(process)
    assert time.monotonic() - began < 5
    assert supervisor.log == [{"status": "stopped"}]
