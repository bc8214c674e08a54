"""Whatever breaks during a measurement has its name, and no finished sample is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imp_deploy import results
from imp_deploy.bench import plan
from imp_deploy.bench.discover import connected
from imp_deploy.bench.settings import Settings
from imp_deploy.bench.store_clean import clean
from imp_deploy.bench.subject import prepare
from imp_deploy.bench.virtual.power import Running
from imp_deploy.errors import DeviceError
from imp_deploy.results import Result
from tests.bench.measuring.conftest import ONE_VARIANT, Bench, only

# The program looks at the phone every two seconds: long enough to be killed in the middle.
LONGER = replace(ONE_VARIANT, repetitions=10)


def after_first_sample(bench: Bench, action: Callable[[], None]) -> None:
    """Calls `action` once, when the first sample has come."""
    calls: list[int] = []

    def on_step(count: int) -> None:
        if count > 0 and not calls:
            calls.append(count)
            action()

    bench.on_step = on_step


def goes_on(bench: Bench, before: Result, settings: Settings = ONE_VARIANT) -> Result:
    """The same call again, which must complete what is there and keep every sample."""
    assert not before.complete
    bench.on_step = lambda _count: None
    measured = bench(settings)
    after = only(measured)
    assert measured.problems == ()
    assert after.complete
    assert after.failures == ()
    assert after.run == before.run
    assert all(sample in after.samples for sample in before.samples)
    return after


@pytest.mark.parametrize("fault", ["drop", "drop-after-sent=2000", "crlf", "noise", "no-shell-v2"])
def test_a_link_that_breaks_or_babbles_costs_nothing(
    bench: Bench, phone: Running, fault: str
) -> None:
    after_first_sample(bench, lambda: phone.inject(fault))
    result = only(bench())
    assert result.complete
    assert result.failures == ()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("kill=9@0.2", "killed"), ("kill=4@0.2", "illegal_instruction"), ("kill=11@0.2", "crashed")],
)
def test_a_killed_repetition_is_named_and_made_up_for(
    bench: Bench, phone: Running, fault: str, kind: str
) -> None:
    injected = [0]

    def on_step(_count: int) -> None:
        """A program that is struck at its very end has given its sample already: once more then."""
        (path,) = bench.out.glob("*.json")
        now = results.load(path)
        if not now.failures and len(now.samples) >= injected[-1] + 2:
            injected.append(len(now.samples))
            phone.inject(fault)

    bench.on_step = on_step
    for attempt in range(4):
        injected[:] = [0]
        measured = bench(LONGER, force=attempt > 0)
        result = only(measured)
        phone.clear()
        if result.failures:
            break
    assert result.failures
    assert {failure.kind for failure in result.failures} <= {kind, "skipped"}
    assert len(result.samples) == LONGER.repetitions - len(result.failures)
    assert len(measured.problems) == 1
    assert f"{len(result.samples)} finished samples are kept" in measured.problems[0]
    phone.clear()
    goes_on(bench, result, LONGER)


def test_a_hang_is_ended_and_named(bench: Bench, phone: Running) -> None:
    llm = prepare(bench.bundle, ONE_VARIANT).variants[0].llm.sha256
    stored = f"/data/local/tmp/imp-deploy/files/{llm}"
    after_first_sample(bench, lambda: phone.inject(f"hang={stored}"))
    result = only(bench(replace(ONE_VARIANT, timeout=6.0)))
    assert {failure.kind for failure in result.failures} <= {"hang", "skipped"}
    assert result.failures[0].kind == "hang"
    assert result.samples
    phone.clear()
    goes_on(bench, result)


def test_a_killed_job_is_named_and_gone_on_with(bench: Bench, phone: Running) -> None:
    after_first_sample(bench, lambda: phone.inject("kill-job=0"))
    measured = bench()
    assert "was killed on the device" in measured.problems[0]
    assert not only(measured).complete
    assert [failure.kind for failure in only(measured).failures] == ["stopped"]
    assert only(measured).samples
    goes_on(bench, only(measured))


def test_a_phone_that_shuts_down_for_heat_says_so(bench: Bench, phone: Running) -> None:
    after_first_sample(bench, lambda: phone.inject("reboot=shutdown,thermal@2"))
    measured = bench()
    assert "restarted" in measured.problems[0]
    assert "shutdown,thermal" in measured.problems[0]
    assert [failure.kind for failure in only(measured).failures] == ["rebooted"]
    assert only(measured).samples
    goes_on(bench, only(measured))


def test_a_disk_that_runs_full_is_named(bench: Bench, phone: Running) -> None:
    after_first_sample(bench, lambda: phone.inject("disk-full"))
    measured = bench()
    result = only(measured)
    assert result.samples
    assert not result.complete
    assert "disk" in measured.problems[0]
    phone.clear()
    goes_on(bench, result)


def command(bench: Bench, settings: Settings = ONE_VARIANT) -> list[str]:
    """`imp-deploy bench` as `settings` say it."""
    assert settings.bits is not None
    assert settings.resolutions is not None
    return [
        *(sys.executable, "-m", "imp_deploy", "bench", str(bench.bundle), "--device", bench.name),
        *("--bits", str(settings.bits[0]), "--resolution", str(settings.resolutions[0])),
        *("--max-tokens", str(settings.generated_tokens)),
        *("--warmups", str(settings.warmups), "--repetitions", str(settings.repetitions)),
        *("--cooldown", "0", "--timeout", f"{settings.timeout:g}", "--out", str(bench.out)),
    ]


def killed_when(bench: Bench, ready: Callable[[], bool]) -> None:
    """Starts the program and kills it with SIGKILL as soon as `ready` says so."""
    process = subprocess.Popen(
        command(bench, LONGER), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 120
        while not ready():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


def samples(bench: Bench) -> int:
    return sum(len(results.load(path).samples) for path in bench.out.glob("*.json"))


def pushed(phone: Running) -> bool:
    """Whether a push to the phone is at work."""
    files = phone.folder / "root" / "data" / "local" / "tmp" / "imp-deploy" / "files"
    return any(files.glob("*.piece"))


def test_a_host_killed_in_the_push(bench: Bench, phone: Running) -> None:
    phone.inject("slow=3000000")
    killed_when(bench, lambda: pushed(phone))
    phone.clear()
    assert only(bench(LONGER)).complete


def test_a_host_killed_in_the_run(bench: Bench) -> None:
    killed_when(bench, lambda: samples(bench) >= 1)
    (path,) = bench.out.glob("*.json")
    before = results.load(path)
    assert before.samples
    goes_on(bench, before, LONGER)


def test_a_host_killed_just_after_the_start(bench: Bench, phone: Running) -> None:
    """The phone works alone: what it measures in the meantime is collected, not measured again."""
    logs = phone.folder / "root/data/local/tmp/imp-deploy/runs"
    killed_when(bench, lambda: any(logs.glob("*/log-1.jsonl")))
    time.sleep(3)
    (path,) = bench.out.glob("*.json")
    goes_on(bench, results.load(path), LONGER)


def test_a_killed_host_goes_on_with_a_full_command(bench: Bench) -> None:
    killed_when(bench, lambda: samples(bench) >= 1)
    again = command(bench, LONGER)
    finished = subprocess.run(again, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "10/10" in finished.stdout


def test_a_failed_measurement_ends_with_exit_code_4(bench: Bench, phone: Running) -> None:
    settings = replace(LONGER, timeout=4.0)
    llm = prepare(bench.bundle, settings).variants[0].llm.sha256
    runs = phone.folder / "root/data/local/tmp/imp-deploy/runs"
    process = subprocess.Popen(
        command(bench, settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not any(path.stat().st_size for path in runs.glob("*/results.jsonl")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    phone.inject(f"hang=/data/local/tmp/imp-deploy/files/{llm}")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 4, stderr
    assert "did not end" in stderr
    assert "/10" in stdout


def test_a_phone_at_work_for_somebody_else_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    second = Bench(bundle=bench.bundle, out=tmp_path / "second", name=bench.name)
    refused: list[str] = []

    def interfere() -> None:
        try:
            second()
        except DeviceError as error:
            refused.append(str(error))

    after_first_sample(bench, interfere)
    measured = bench()
    assert only(measured).complete, (measured.problems, refused)
    assert "busy with another measurement" in refused[0]


def test_samples_outlive_the_device_forgetting_them(bench: Bench, phone: Running) -> None:
    after_first_sample(bench, lambda: phone.inject("kill-job=0"))
    before = only(bench())
    assert 0 < len(before.samples) < ONE_VARIANT.repetitions
    with connected(bench.name) as device:
        clean(device)
    bench.on_step = lambda _count: None
    after = only(bench())
    assert after.complete
    assert all(sample in after.samples for sample in before.samples)


def test_a_variant_left_out_of_a_later_call_keeps_its_samples(bench: Bench, phone: Running) -> None:
    both = replace(ONE_VARIANT, bits=(8, 4))
    after_first_sample(bench, lambda: phone.inject("kill-job=0"))
    before = list(bench(both).files.values())
    bench.on_step = lambda _count: None
    assert only(bench()).complete
    after = list(bench(both).files.values())
    for old, new in zip(before, after, strict=True):
        assert new.complete
        assert all(sample in new.samples for sample in old.samples)


def test_a_job_that_gives_up_says_why(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "plan_text", lambda *_: "imp-plan 1\nnonsense 1\n")
    measured = bench()
    assert "nonsense" in measured.problems[0]
    assert [failure.kind for failure in only(measured).failures] == ["failed"]


def test_interrupted_by_hand(bench: Bench) -> None:
    process = subprocess.Popen(
        command(bench, LONGER), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while samples(bench) == 0:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "run the same command again" in stderr
    (path,) = bench.out.glob("*.json")
    goes_on(bench, results.load(path), LONGER)
