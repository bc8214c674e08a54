"""Clocks and temperatures, read from a /sys that the tests make up, as a phone's would be."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.native.jobs import Line, Runner, Value, read_results, render
from tests.native.plans import Planned, Supervisor, finish, wait_until

ZONES = {
    "aoss-0": "36500",
    "cpuss-0": "39000",
    "cpuss-1": "39500",
    **{f"cpu-{core // 3}-{core % 3}-0": f"4{core}000" for core in range(9)},
    "gpuss-0": "38000",
    "cpu-9-9-9": "-274000",
    "battery": "31000",
    "skin-msm-therm": "33000",
    "skin-therm-2": "33500",
    "xo-therm": "2000000",
}

SERVICE = """\
IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=30.5, mType=0, mName=CPU0, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL AIDL 1 connected: yes
Current temperatures from HAL:
\tTemperature{mValue=41.2, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=43.7, mType=0, mName=CPU1, mStatus=0}
\tTemperature{mValue=28.9, mType=2, mName=battery, mStatus=0}
\tTemperature{mValue=99.0, mType=1, mName=GPU0, mStatus=0}
\tTemperature{mValue=NaN, mType=3, mName=skin, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
Temperature static thresholds from HAL:
\tTemperatureThreshold{mType=0, mName=CPU0, mHotThrottlingThresholds=[NaN, 95.0]}
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """An empty folder, in which `thermal` and `cpu` stand for those of /sys/class and
    /sys/devices/system."""
    if shutil.which("proot") is None:
        pytest.skip("proot is not installed, which gives a program another /sys")
    (tmp_path / "thermal").mkdir()
    (tmp_path / "cpu").mkdir()
    return tmp_path


def prefix(fake: Path) -> tuple[str, ...]:
    """What runs a program with these two folders in place of the system's."""
    binds = {"thermal": "/sys/class/thermal", "cpu": "/sys/devices/system/cpu"}
    options = [option for name, at in binds.items() for option in ("-b", f"{fake / name}:{at}")]
    return ("proot", "-v", "-1", *options)


def write_zones(fake: Path, zones: dict[str, str]) -> None:
    for number, (kind, value) in enumerate(zones.items()):
        folder = fake / "thermal" / f"thermal_zone{number}"
        folder.mkdir()
        (folder / "type").write_text(kind + "\n")
        (folder / "temp").write_text(value + "\n")


def write_cores(fake: Path, clocks: list[tuple[int, int] | None]) -> None:
    for cpu, clock in enumerate(clocks):
        folder = fake / "cpu" / f"cpu{cpu}" / "cpufreq"
        folder.mkdir(parents=True)
        if clock is not None:
            (folder / "scaling_cur_freq").write_text(f"{clock[0]}\n")
            (folder / "scaling_max_freq").write_text(f"{clock[1]}\n")
    (fake / "cpu" / "cpufreq").mkdir()
    (fake / "cpu" / "cpuidle").mkdir()


def write_service(fake: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `dumpsys` on the PATH that notes how often it is called."""
    (fake / "service").write_text(text)
    program = fake / "dumpsys"
    program.write_text(f'#!/bin/sh\necho "$@" >>{fake}/calls\nexec cat {fake}/service\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")


def measure(runner: Runner, fake: Path, **settings: int) -> Line:
    job = runner.folder / "job"
    step: dict[str, Value] = {"id": "1", "prompt": "What is it?", "max_tokens": 60, "ignore_eog": 1}
    job.write_text(render(runner.job(**settings), [step]))
    out = runner.folder / "out"
    argv = [*prefix(fake), str(runner.binary), str(job), str(out)]
    subprocess.run(argv, check=True, timeout=60)
    [line] = read_results(out)
    return line


def test_the_clocks_of_all_cores(runner: Runner, fake: Path) -> None:
    """Otherwise a core that is offline or throttled shifts the clocks of the others."""
    write_cores(fake, [(300000, 2265600), (600000, 2265600), None, *[(3000000, 3187200)] * 8])
    line = measure(runner, fake, sample_ms=10)
    clocks = [300000, 600000, 0, *[3000000] * 8]
    assert line["before"]["clocks_khz"] == line["after"]["clocks_khz"] == clocks
    assert line["before"]["limits_khz"] == [2265600, 2265600, 0, *[3187200] * 8]
    assert all(row == clocks for row in line["trace"]["clocks_khz"])


def test_the_zones_that_say_something(runner: Runner, fake: Path) -> None:
    """Otherwise a phone with a zone for every core says nothing of its skin, or reports sensors
    that are switched off."""
    write_zones(fake, ZONES)
    line = measure(runner, fake, sample_ms=10)
    celsius = line["before"]["celsius"]
    assert len(celsius) == 8
    assert not {"aoss-0", "gpuss-0", "cpu-9-9-9", "xo-therm"} & set(celsius)
    assert celsius["battery"] == 31
    assert celsius["skin-msm-therm"] == 33
    cores = [name for name in celsius if name.startswith("cpu-")]
    assert len(cores) == 6
    assert {name.split("-")[1] for name in cores} == {"0", "1", "2"}
    assert all(celsius[name] == int(ZONES[name]) / 1000 for name in cores)
    trace = line["trace"]
    assert list(trace["celsius"]) == list(celsius)
    moments = len(trace["seconds"])
    assert trace["celsius"]["battery"] == [31] * moments


def test_zones_of_the_same_type(runner: Runner, fake: Path) -> None:
    """Otherwise one of them is lost, and the columns no longer fit."""
    (fake / "thermal").joinpath("thermal_zone0").mkdir()
    for number in (1, 2):
        folder = fake / "thermal" / f"thermal_zone{number}"
        folder.mkdir()
        (folder / "type").write_text("cpu\n")
        (folder / "temp").write_text(f"4{number}000\n")
    line = measure(runner, fake, sample_ms=10)
    assert line["after"]["celsius"] == {"cpu": 41, "cpu#2": 42}
    assert len(line["trace"]["celsius"]) == 2


def test_without_zones_android_is_asked(
    runner: Runner, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a phone that denies its thermal zones, as most do, is measured hot unnoticed."""
    write_service(fake, SERVICE, monkeypatch)
    line = measure(runner, fake, sample_ms=10)
    wanted = {"CPU0": 41.2, "CPU1": 43.7, "battery": 28.9, "GPU0": 99}
    assert line["before"]["celsius"] == line["after"]["celsius"] == wanted
    assert line["trace"]["celsius"] == {}
    calls = (fake / "calls").read_text()
    assert calls == "thermalservice\n" * 2  # before and after, never during the step


def test_android_remembers_temperatures(
    runner: Runner, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a phone whose thermal service does not answer at once has no temperatures."""
    write_service(fake, SERVICE.replace("Current temp", "No temp"), monkeypatch)
    assert measure(runner, fake, sample_ms=10)["before"]["celsius"] == {"CPU0": 30.5}


def test_a_service_that_prints_much(
    runner: Runner, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a phone with many listeners and sensors has no temperatures: they come last."""
    write_service(fake, "\tlistener: somebody\n" * 3000 + SERVICE, monkeypatch)
    assert measure(runner, fake, sample_ms=10)["after"]["celsius"]["CPU0"] == 41.2


def test_an_evaluation_does_not_ask_android(
    runner: Runner, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each of thousands of questions waits for a program that nobody asked for."""
    write_service(fake, SERVICE, monkeypatch)
    assert measure(runner, fake)["before"]["celsius"] == {}
    assert not (fake / "calls").exists()


def test_a_service_that_hangs(runner: Runner, fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a service of Android that hangs, as they do, hangs the measurement."""
    write_service(fake, SERVICE, monkeypatch)
    program = fake / "dumpsys"
    program.write_text(program.read_text().replace("exec cat", "sleep 100; cat"))
    supervisor, runs = cooling(runner, fake)
    [started, *_] = supervisor.run(runs)
    assert started["celsius"] is None
    assert supervisor.log[-1] == {"status": "finished"}


def cooling(runner: Runner, fake: Path) -> tuple[Supervisor, list[Planned]]:
    supervisor = Supervisor(runner=replace(runner, folder=fake), prefix=prefix(fake))
    return supervisor, [Planned(id="a", job=supervisor.job("a"))]


def test_a_rest_ends_when_the_phone_is_cool(runner: Runner, fake: Path) -> None:
    """Otherwise every repetition is hotter and slower than the one before it."""
    write_zones(fake, {"battery": "60000", "cpu-0-0": "39000", "cpu-1-0": "55500"})
    supervisor, runs = cooling(runner, fake)
    process = supervisor.start(runs, rest_celsius="40.5", rest_seconds=60)
    wait_until(lambda: supervisor.about("a") == ["resting"], process)
    [resting] = supervisor.log
    assert resting["celsius"] == 55.5
    (fake / "thermal" / "thermal_zone2" / "temp").write_text("40400\n")
    finish(process)
    started = supervisor.log[1]
    assert (started["rest_reached"], started["celsius"]) == (True, 40.4)
    assert 2 <= started["rested_seconds"] < 10


def test_a_rest_does_not_last_for_ever(runner: Runner, fake: Path) -> None:
    """Otherwise a phone in the sun is never measured, or nobody knows how hot it was."""
    write_zones(fake, {"cpu-0-0": "70000"})
    supervisor, runs = cooling(runner, fake)
    [started, *_] = supervisor.run(runs, rest_celsius=40, rest_seconds="1.2")
    assert (started["status"], started["rest_reached"], started["celsius"]) == (
        "started",
        False,
        70,
    )
    assert 1.2 <= started["rested_seconds"] < 3


def test_a_rest_by_what_android_says(
    runner: Runner, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise phones that deny their zones are never cooled down."""
    write_service(fake, SERVICE, monkeypatch)
    supervisor, runs = cooling(runner, fake)
    [started, *_] = supervisor.run(runs, rest_celsius=44, rest_seconds=60)
    assert (started["rest_reached"], started["celsius"]) == (True, 43.7)


def test_a_rest_without_any_sensor(runner: Runner, fake: Path) -> None:
    """Otherwise a phone that tells nothing gets no rest at all."""
    supervisor, runs = cooling(runner, fake)
    [started, *_] = supervisor.run(runs, rest_celsius=40, rest_seconds=1)
    assert (started["rest_reached"], started["celsius"]) == (False, None)
    assert started["rested_seconds"] >= 1
