"""The supervisor on the phone: it works through a plan alone, and whatever happens to a run, to it
or to its host, what was measured is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.native.jobs import Line, Runner, Value, read_results
from tests.native.plans import (
    NEVER,
    Planned,
    Supervisor,
    children,
    finish,
    gone,
    wait_until,
)


def three(supervisor: Supervisor) -> list[Planned]:
    return [Planned(id=f"run {n}", job=supervisor.job(f"s{n}"), group=f"g{n}") for n in range(3)]


def start_long(supervisor: Supervisor, **keys: Value) -> tuple[subprocess.Popen[str], int]:
    """A supervisor, and its child in the middle of a long run that is followed by a short one."""
    runs = [Planned(id="long", job=supervisor.long_job("long"))]
    runs.append(Planned(id="short", job=supervisor.job("short"), group="h"))
    process = supervisor.start(runs, **keys)
    wait_until(supervisor.results, process)
    [child] = children(process.pid)
    return process, child


def ended(log: list[Line], run: str) -> Line:
    return next(line for line in log if line.get("run") == run and line["status"] == "ended")


def test_every_run_in_its_turn(supervisor: Supervisor) -> None:
    """Otherwise variants are not interleaved as asked for, or a run is missing from the table."""
    log = supervisor.run(three(supervisor), rest_seconds=60)  # and nothing to rest for
    states = [(line.get("run"), line["status"]) for line in log]
    pairs = [(f"run {n}", status) for n in range(3) for status in ("started", "ended")]
    assert states == [*pairs, (None, "finished")]
    assert supervisor.results() == ["s0-0", "s1-0", "s2-0"]
    started = log[0:6:2]
    assert [line["rest_reached"] for line in started] == [True] * 3
    assert all(line["rested_seconds"] < 2 for line in started)
    assert [line["note"] for line in started] == [""] * 3
    for line in log[1:6:2]:
        assert (line["exit"], line["signal"], line["timed_out"], line["stderr"]) == (
            0,
            None,
            False,
            "",
        )
        assert line["seconds"] > 0
    uptimes = [line["uptime"] for line in log[:6]]
    assert uptimes == sorted(uptimes)
    assert not list(supervisor.folder.glob("*.reserve"))


def test_a_finished_run_is_not_run_again(supervisor: Supervisor) -> None:
    """Otherwise a cable that dropped doubles the time of the measurement, and heats the phone."""
    runs = three(supervisor)
    supervisor.run(runs[:2])
    before = (supervisor.folder / "log").read_bytes()
    log = supervisor.run(runs)
    assert (supervisor.folder / "log").read_bytes().startswith(before)
    assert [line.get("run") for line in log[5:]] == ["run 2", "run 2", None]
    assert supervisor.results() == ["s0-0", "s1-0", "s2-0"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGILL])
def test_a_run_that_the_system_kills(supervisor: Supervisor, number: signal.Signals) -> None:
    """Otherwise the low-memory killer, or a binary for another processor, looks like a success or
    ends all that was to come."""
    process, child = start_long(supervisor)
    os.kill(child, number)
    finish(process)
    line = ended(supervisor.log, "long")
    assert (line["exit"], line["signal"], line["timed_out"]) == (None, number, False)
    assert ended(supervisor.log, "short")["exit"] == 0
    assert "long-0" in supervisor.results()


def test_a_run_that_hangs(supervisor: Supervisor) -> None:
    """Otherwise one hung run keeps the phone at work until its battery is empty."""
    process, child = start_long(supervisor, timeout="1.5")
    os.kill(child, signal.SIGSTOP)
    finish(process)
    line = ended(supervisor.log, "long")
    assert (line["exit"], line["signal"], line["timed_out"]) == (None, signal.SIGKILL, True)
    assert 1.5 <= line["seconds"] < 1.95  # neither rounded up nor down
    assert gone(child)
    assert ended(supervisor.log, "short")["exit"] == 0


def test_a_variant_that_cannot_run_is_given_up(supervisor: Supervisor) -> None:
    """Otherwise a model that does not fit the phone's memory is loaded and killed all night."""
    missing = supervisor.folder / "missing.job"
    runs = [Planned(id=f"bad {n}", job=missing, group="bad") for n in range(4)]
    runs.insert(3, Planned(id="good", job=supervisor.job("good")))
    log = supervisor.run(runs)
    assert [supervisor.about(run.id) for run in runs] == [
        ["started", "ended"],
        ["started", "ended"],
        ["skipped"],
        ["started", "ended"],
        ["skipped"],
    ]
    line = ended(log, "bad 0")
    assert (line["exit"], line["signal"]) == (3, None)
    assert str(missing) in line["stderr"]
    assert "No such file" in line["stderr"]
    assert supervisor.run(runs)[len(log) :] == [{"status": "finished"}]


def test_a_failure_is_tried_again_by_the_next_supervisor(supervisor: Supervisor) -> None:
    """Otherwise a job that was pushed too late is missing from the results for ever."""
    runs = [Planned(id="late", job=supervisor.folder / "late.job")]
    supervisor.run(runs)
    supervisor.job("late")
    supervisor.run(runs)
    assert supervisor.about("late") == ["started", "ended"] * 2
    assert supervisor.results() == ["late-0"]


def test_a_killed_supervisor_takes_its_run_along(supervisor: Supervisor) -> None:
    """Otherwise an orphan goes on heating the phone, and keeps the results locked for the next."""
    process, child = start_long(supervisor)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while not gone(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert supervisor.about("long") == ["started"]


def test_a_killed_supervisor_loses_nothing(supervisor: Supervisor) -> None:
    """Otherwise a phone that ran out of battery has to start from the beginning."""
    process, child = start_long(supervisor)
    process.kill()
    process.communicate()
    kept = (supervisor.folder / "out").read_bytes()
    with (supervisor.folder / "log").open("a") as log:
        log.write('{"run": "long", "status": "en')  # what it was just writing
    supervisor.job("long", 4)  # the rest of the long job is of no interest
    finish(supervisor.start_text())
    assert (supervisor.folder / "out").read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    assert supervisor.about("long") == ["started", "started", "ended"]
    assert supervisor.log[-1] == {"status": "finished"}
    assert len(set(supervisor.results())) == len(supervisor.results())
    assert gone(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop(supervisor: Supervisor, number: signal.Signals) -> None:
    """Otherwise Ctrl-C on the host leaves the phone computing."""
    process, child = start_long(supervisor)
    process.send_signal(number)
    finish(process)
    assert gone(child)
    assert supervisor.about("long") == ["started"]
    assert supervisor.log[-1] == {"status": "stopped"}


def test_asked_to_stop_in_a_rest(supervisor: Supervisor) -> None:
    """Otherwise Ctrl-C takes effect only after minutes of cooling down."""
    process = supervisor.start(three(supervisor), rest_celsius=NEVER, rest_seconds=60)
    wait_until(lambda: "resting" in supervisor.about("run 0"), process)
    process.terminate()
    finish(process)
    assert supervisor.log[-1] == {"status": "stopped"}
    assert supervisor.about("run 0") == ["resting"]


def test_a_lost_connection_does_not_end_it(supervisor: Supervisor) -> None:
    """Otherwise the measurement dies with the cable."""
    process, child = start_long(supervisor)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGPIPE)
    time.sleep(0.3)
    assert process.poll() is None
    assert not gone(child)
    process.terminate()
    finish(process)


def test_one_supervisor_per_log(supervisor: Supervisor) -> None:
    """Otherwise two of them measure at the same time, and each slows the other down."""
    process, _ = start_long(supervisor)
    second = supervisor.start_text()
    _, stderr = second.communicate(timeout=30)
    assert second.returncode == 3
    assert "another run is writing the log" in stderr
    process.terminate()
    finish(process)


def test_results_that_find_no_space(runner: Runner) -> None:
    """Otherwise a full disk looks like a crash, and nobody knows what to clean up."""
    # Room for the log's lines and not for a result.
    supervisor = Supervisor(runner=runner, prefix=("prlimit", "--fsize=1024"))
    runs = [Planned(id="full", job=supervisor.job("full", max_tokens=300))]
    line = ended(supervisor.run(runs), "full")
    assert (line["exit"], line["signal"]) == (3, None)
    assert "File too large" in line["stderr"]
    assert str(supervisor.folder / "out") in line["stderr"]
    assert (supervisor.folder / "out").read_bytes() == b""


FAILING_SYNC = "#include <errno.h>\nint fsync(int file) { (void)file; errno = EIO; return -1; }\n"


@pytest.fixture
def failing_sync(tmp_path: Path) -> tuple[str, ...]:
    """What runs a program whose fsync() always fails."""
    source, library = tmp_path / "sync.c", tmp_path / "sync.so"
    source.write_text(FAILING_SYNC)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return ("env", f"LD_PRELOAD={library}")


def test_a_line_that_was_seen_stays(runner: Runner, failing_sync: tuple[str, ...]) -> None:
    """Otherwise a host that has fetched a line already reads the next ones from their middle."""
    supervisor = Supervisor(runner=runner, prefix=failing_sync)
    out = supervisor.folder / "results"
    argv = [*failing_sync, str(runner.binary), str(supervisor.job("a", 3)), str(out)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert f"cannot write the results {out}: Input/output error" in done.stderr
    # Within the second after which the disk is asked, the other steps were answered too.
    assert [line["step"] for line in read_results(out)] == ["a-0", "a-1", "a-2"]
    process = supervisor.start(three(supervisor))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "Input/output error" in stderr
    assert supervisor.about("run 0") == ["started"]  # once, though the reserve was given up for it


FILLED_UP = """
mount -t tmpfs -o size=300k tmpfs "$1" || exit 77
cp "$1.plan" "$1/plan"
"$0" --plan "$1/plan" "$1/log" &
until grep -qs ended "$1/log"; do sleep 0.05; done
dd if=/dev/zero of="$1/fill" bs=1k 2>/dev/null
wait $! || exit
cat "$1/log"
"""


def test_the_log_of_a_full_disk(runner: Runner) -> None:
    """Otherwise the one disk that is full is also the reason why nobody is told."""
    supervisor = Supervisor(runner=runner)
    disk = supervisor.folder / "disk"
    disk.mkdir()
    lines = ["imp-plan 1", "timeout 60", f"rest_celsius {NEVER}", "rest_seconds 1"]
    long = "long " * 1000  # so that the log needs space, and not only the end of a block it has
    for id in ("first", long):
        lines += ["run", f"id {id}", f"group {id}", f"job {supervisor.job(id[:5])}"]
        lines += [f"out {disk / 'out'}"]
    (supervisor.folder / "disk.plan").write_text("\n".join(lines) + "\n")
    argv = ["unshare", "--map-root-user", "--mount", "sh", "-c", FILLED_UP]
    done = subprocess.run([*argv, runner.binary, disk], capture_output=True, text=True, timeout=60)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this system lets nobody mount a small file system")
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["status"] for line in log] == [*["started", "ended"] * 2, "finished"]


def test_the_end_of_a_long_error_is_kept(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the reason of a crash is cut off, or one run's noise fills the disk."""
    job = supervisor.folder / ("long " * 300)[:200] / "job"
    runs = [Planned(id="noisy", job=supervisor.job("noisy"))]
    monkeypatch.setenv("IMP_RUNNER_LOG", "1")  # llama.cpp's messages, several ten thousand bytes
    line = ended(supervisor.run(runs), "noisy")
    bad = ended(supervisor.run([Planned(id="long path", job=job)]), "long path")
    assert len(line["stderr"]) == 2000
    assert "long path" not in bad["stderr"]
    assert str(job) in bad["stderr"]


RUN = "run\nid a\ngroup g\njob j\nout o\n"
PLANS = {
    "": 0,
    "imp-job 1\ntimeout 5\n": 1,
    "imp-plan 1\ntimeout 5\n": 2,
    "imp-plan 1\n" + RUN: 1,
    "imp-plan 1\ntimeout 0\n" + RUN: 2,
    "imp-plan 1\ntimeout 0.9\n" + RUN: 2,
    "imp-plan 1\ntimeout 1000000.5\n" + RUN: 2,
    "imp-plan 1\ntimeout 1.5.5\n" + RUN: 2,
    "imp-plan 1\ntimeout 5\nnote \n" + RUN: 3,
    "imp-plan 1\ntimeout 5\nnote a\nnote b\n" + RUN: 4,
    "imp-plan 1\ntimeout 5\npause_seconds 5\n" + RUN: 3,
    "imp-plan 1\ntimeout 5\nrun\nnote a\n": 4,
    "imp-plan 1\ntimeout 5\nrest_celsius warm\n" + RUN: 3,
    "imp-plan 1\ntimeout 5\nrest_celsius -1\n" + RUN: 3,
    "imp-plan 1\ntimeout 5\nrest_celsius 4.\n" + RUN: 3,
    "imp-plan 1\ntimeout 5\nrest_celsius 151\n" + RUN: 3,
    "imp-plan 1\ntimeout 5\ntimeout 5\n" + RUN: 3,
    "imp-plan 1\ntimeout 5\ncolour red\n" + RUN: 3,
    "imp-plan 1\ntimeout 5\nrun\nid a\ngroup g\njob j\n": 3,
    "imp-plan 1\ntimeout 5\nrun\nid a\ngroup g\njob j\nout \n": 7,
    "imp-plan 1\ntimeout 5\nrun\ntimeout 5\n": 4,
    "imp-plan 1\ntimeout 5\n" + RUN + RUN: 8,
}


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_that_cannot_be_understood(supervisor: Supervisor, plan: str) -> None:
    """Otherwise a misspelt key is ignored, and the phone is measured hot."""
    (supervisor.folder / "plan").write_text(plan)
    process = supervisor.start_text()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 3
    assert f"plan, line {PLANS[plan]}: " in stderr
    assert not (supervisor.folder / "log").exists()


def test_without_arguments_that_mean_something(runner: Runner) -> None:
    """Otherwise a typing error starts something else than what was meant."""
    for arguments in ([], ["--plan"], ["--plan", "a"], ["--paln", "a", "b"], ["--bandwidth"]):
        done = subprocess.run([runner.binary, *arguments], capture_output=True, text=True)
        assert done.returncode == 2
        assert "--plan PLAN LOG" in done.stderr
