"""The phone misbehaves as it is told, so that the handling of each fault can be tested."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from adb_shell.auth.sign_pythonrsa import PythonRSASigner
from adb_shell.exceptions import TcpTimeoutException

from imp_deploy.bench.virtual.power import Running
from imp_deploy.errors import DeviceError
from tests.bench.virtual.clients import TMP, Adb, direct, wait


@pytest.fixture(autouse=True)
def _well_behaved(phone: Running) -> Iterator[None]:
    yield
    phone.clear()
    phone.inject("hot=25")
    phone.clear()


@pytest.fixture
def arm(adb: Adb, arm_program: Path) -> str:
    assert adb.run("push", str(arm_program), f"{TMP}/arm").returncode == 0
    return f"{TMP}/arm"


def test_drop_after_breaks_a_push_and_then_lets_hosts_in_again(
    phone: Running, signer: PythonRSASigner
) -> None:
    with direct(phone, signer) as device:
        phone.inject("drop-after=2000000")
        with pytest.raises((OSError, TcpTimeoutException)):
            device.push(io.BytesIO(os.urandom(3_000_000)), f"{TMP}/broken")
    with direct(phone, signer) as again:
        assert again.stat(f"{TMP}/broken") == (0, 0, 0), "as on a phone, a part is removed"
        again.push(io.BytesIO(b"x" * 3_000_000), f"{TMP}/broken")


def test_drop_after_sent_breaks_a_pull(
    phone: Running, signer: PythonRSASigner, tmp_path: Path
) -> None:
    with direct(phone, signer) as device:
        device.push(io.BytesIO(bytes(3_000_000)), f"{TMP}/whole")
        phone.inject("drop-after-sent=300000")
        with pytest.raises((OSError, TcpTimeoutException)):
            device.pull(f"{TMP}/whole", str(tmp_path / "part"))


def test_drop_makes_the_real_client_lose_the_phone(adb: Adb, phone: Running) -> None:
    phone.inject("offline")
    wait(lambda: adb.state() == "offline", 10)
    assert b"offline" in adb.shell("true").stderr
    phone.clear("offline")
    adb.disconnect()
    adb.connect()
    phone.inject("drop")
    adb.disconnect()
    adb.connect()
    assert adb.said("echo back") == "back\n"


def test_refusal_takes_back_what_was_accepted(adb: Adb, phone: Running) -> None:
    phone.inject("refuse-auth")
    adb.disconnect()
    adb.run("connect", adb.serial)
    assert adb.state() == "unauthorized"


def test_an_old_shell_has_no_status(adb: Adb, phone: Running) -> None:
    phone.inject("no-shell-v2")
    phone.inject("drop")
    adb.disconnect()
    adb.connect()
    done = adb.shell("echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (0, b"out\nerr\n")
    phone.clear()
    phone.inject("drop")


def test_crlf_and_noise(adb: Adb, phone: Running) -> None:
    phone.inject("crlf")
    assert adb.said("echo a; echo b") == "a\r\nb\r\n"
    phone.inject("noise")
    said = adb.said("echo a")
    assert said.startswith("WARNING: linker: ")
    assert said.endswith("\r\na\r\n")


def test_slow(phone: Running, signer: PythonRSASigner) -> None:
    with direct(phone, signer) as device:
        phone.inject("slow=1000000")
        began = time.monotonic()
        device.push(io.BytesIO(bytes(700_000)), f"{TMP}/slow")
        assert 0.6 < time.monotonic() - began < 5


def test_disk_full(adb: Adb, phone: Running, tmp_path: Path) -> None:
    phone.inject("disk-full")
    (tmp_path / "more").write_bytes(bytes(10_000))
    done = adb.run("push", str(tmp_path / "more"), f"{TMP}/more")
    assert b"No space left on device" in done.stdout + done.stderr
    assert adb.said(f"df -k {TMP}").splitlines()[1].split()[3] == "0"
    assert adb.shell(f"sleep 0.3; echo x > {TMP}/x").returncode != 0
    phone.clear("disk-full")
    assert adb.shell(f"sleep 0.3; echo x > {TMP}/x").returncode == 0


@pytest.mark.parametrize(("fault", "status"), [("kill=9@0.3", 137), ("kill=SEGV@0.3", 139)])
def test_a_killed_program(adb: Adb, phone: Running, arm: str, fault: str, status: int) -> None:
    phone.inject(fault)
    done = adb.shell(f"{arm} spin 20; s=$?; echo the shell goes on; exit $s")
    assert done.returncode == status
    assert b"done" not in done.stdout
    assert b"the shell goes on\n" in done.stdout
    assert adb.said(f"{arm} spin 0.5") == "spinning\ndone\n", "only once"


def test_a_killed_job_takes_its_shell_along(adb: Adb, phone: Running, arm: str) -> None:
    phone.inject("kill-job=0.3")
    adb.said(
        f"cd {TMP}; rm -f end; setsid sh -c '{arm} spin 20; echo x > end' "
        "</dev/null >/dev/null 2>&1 &"
    )
    wait(lambda: "spin" in adb.said("ps -o args"), 5)
    wait(lambda: "spin" not in adb.said("ps -o args | grep -v ps"), 5)
    time.sleep(0.2)
    assert adb.shell(f"ls {TMP}/end").returncode != 0


def test_reading_a_file_that_hangs_blocks_and_can_be_killed(adb: Adb, phone: Running) -> None:
    adb.said(f"echo content > {TMP}/slow")
    phone.inject(f"hang={TMP}/slo*")
    assert adb.shell(f"timeout 1 cat {TMP}/slow").returncode != 0
    assert adb.said("echo the phone itself goes on") == "the phone itself goes on\n"
    phone.clear()
    assert adb.said(f"cat {TMP}/slow") == "content\n"


def test_a_supervisor_is_not_what_a_kill_hits(adb: Adb, phone: Running, arm: str) -> None:
    adb.said(f"setsid {arm} spin 3 --plan </dev/null >/dev/null 2>&1 & echo $! > {TMP}/pid")
    phone.inject("kill=9@0")
    assert adb.shell(f"{arm} spin 5").returncode == 128 + 9
    assert adb.shell(f"kill -0 $(cat {TMP}/pid)").returncode == 0


def test_reboot(adb: Adb, phone: Running, arm: str) -> None:
    before = adb.said("cat /proc/sys/kernel/random/boot_id")
    adb.said(f"setsid {arm} spin 30 </dev/null >/dev/null 2>&1 &")
    phone.inject("reboot=shutdown,thermal@0.5")
    time.sleep(0.6)
    adb.disconnect()
    adb.connect()
    assert adb.said("cat /proc/sys/kernel/random/boot_id") != before
    assert adb.said("getprop sys.boot.reason") == "shutdown,thermal\n"
    assert float(adb.said("cat /proc/uptime").split()[0]) < 20
    assert "spin" not in adb.said("ps -o args | grep -v grep")


def test_heat(adb: Adb, phone: Running) -> None:
    zone = "/sys/class/thermal/thermal_zone5/temp"
    assert int(adb.said(f"cat {zone}")) < 60_000
    phone.inject("hot=92.5")
    assert int(adb.said(f"cat {zone}")) > 90_000
    assert "mValue=92" in adb.said("dumpsys thermalservice")
    limit = "/sys/devices/system/cpu/cpu7/cpufreq/scaling_max_freq"
    assert int(adb.said(f"cat {limit}")) < 3_302_400


def test_work_heats_and_rest_cools(adb: Adb, arm: str) -> None:
    zone = "cat /sys/class/thermal/thermal_zone5/temp"
    clock = "cat /sys/devices/system/cpu/cpu7/cpufreq/scaling_cur_freq"
    cold = int(adb.said(zone))
    assert int(adb.said(clock)) == 480_000
    said = adb.said(f"{arm} spin 3 >/dev/null & sleep 2.5; {zone}; {clock}; wait").split()
    assert int(said[0]) > cold + 2_000
    assert int(said[1]) > 3_000_000
    hot = int(adb.said(zone))
    wait(lambda: int(adb.said(zone)) < hot - 1_000, 10)


def test_programs_that_keep_a_sensor_open_see_it_change(adb: Adb, phone: Running) -> None:
    """The runner opens each file once, and reads it again and again."""
    said = adb.said(
        "exec 3</sys/class/thermal/thermal_zone5/temp; sleep 1.2; cat <&3; cat <&3"
    ).split()
    assert len(said) == 1
    inode = "stat -c %i /sys/class/thermal/thermal_zone5/temp"
    before = adb.said(inode)
    phone.inject("hot=80")
    assert adb.said(inode) == before


def test_unreadable_sensors(adb: Adb, phone: Running) -> None:
    phone.inject("thermal-unreadable")
    for path in ("class/thermal/thermal_zone0/temp", "class/power_supply/battery/capacity"):
        done = adb.shell(f"cat /sys/{path}")
        assert b"Permission denied" in done.stderr
    assert "mName=CPU0" in adb.said("dumpsys thermalservice")
    assert "level: 80" in adb.said("dumpsys battery")
    phone.clear()
    assert adb.said("cat /sys/class/power_supply/battery/capacity") == "80\n"


@pytest.mark.parametrize(
    ("fault", "command", "expected"),
    [
        ("battery=7", "dumpsys battery | grep level", "  level: 7\n"),
        ("charging", "dumpsys battery | grep USB", "  USB powered: true\n"),
        ("battery-saver", "settings get global low_power", "1\n"),
        (
            "screen-off",
            "dumpsys power | grep -E 'mWake|^Display'",
            "  mWakefulness=Asleep\nDisplay Power: state=OFF\n",
        ),
        ("abi=x86_64", "getprop ro.product.cpu.abi; uname -m", "x86_64\nx86_64\n"),
    ],
)
def test_states(adb: Adb, phone: Running, fault: str, command: str, expected: str) -> None:
    assert adb.said(command) != expected
    phone.inject(fault)
    assert adb.said(command) == expected
    phone.clear()
    assert adb.said(command) != expected


def test_a_clock_that_jumps(adb: Adb, phone: Running) -> None:
    phone.inject("clock-jump=-86400")
    assert abs(int(adb.said("date +%s")) + 86400 - time.time()) < 5
    phone.clear()
    assert abs(int(adb.said("date +%s")) - time.time()) < 5


def test_damage_changes_one_bit_and_nothing_else(adb: Adb, phone: Running) -> None:
    look = f"stat -c '%s %Y' {TMP}/good"
    adb.said(f"head -c 1000 /dev/zero > {TMP}/good")
    before = adb.said(look)
    phone.inject(f"damage={TMP}/goo*")
    assert adb.said(look) == before
    assert (phone.folder / f"root{TMP}/good").read_bytes().count(b"\0") == 999
    with pytest.raises(DeviceError, match="no file"):
        phone.inject(f"damage={TMP}/nothing")


@pytest.mark.parametrize(
    "fault", ["nonsense", "drop-after=x", "kill=NONE", "battery=200", "crlf=1"]
)
def test_a_wrong_fault_is_said_to_be_wrong(phone: Running, fault: str) -> None:
    with pytest.raises(DeviceError, match="fault"):
        phone.inject(fault)


def test_faults_while_hosts_work(adb: Adb, phone: Running) -> None:
    """Injecting and clearing from a test does not upset what is running."""
    ended = threading.Event()

    def annoy() -> None:
        while not ended.is_set():
            phone.inject("battery=50")
            phone.clear("battery")

    thread = threading.Thread(target=annoy)
    thread.start()
    try:
        for _ in range(10):
            assert adb.said("cat /proc/cpuinfo | grep -c processor") == "8\n"
    finally:
        ended.set()
        thread.join()
