"""Debian's adb, which this project did not write, finds a phone: without it, nobody could say that
what works with the virtual phone works with a real one."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from pathlib import Path

from imp_deploy.bench.virtual.power import Running, powered
from imp_deploy.bench.virtual.settings import Settings
from tests.bench.virtual.clients import TMP, Adb, wait

_FIVE_MB = random.Random(1).randbytes(5_000_000)


def test_connects_and_lists(adb: Adb) -> None:
    listed = adb.run("devices", "-l").stdout.decode()
    assert f"{adb.serial}" in listed
    assert "device product:virtual_sm8650 model:Virtual_SM8650" in listed
    assert adb.run("get-state").stdout == b"device\n"
    assert b"shell_v2" in adb.run("features").stdout


def test_shell_keeps_status_and_both_outputs(adb: Adb) -> None:
    done = adb.shell("echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert adb.shell("kill -9 $$").returncode == 137


def test_shell_reads_stdin_to_its_end(adb: Adb) -> None:
    done = adb.shell("sha256sum", stdin=_FIVE_MB)
    assert done.stdout.split()[0].decode() == hashlib.sha256(_FIVE_MB).hexdigest()
    assert adb.shell("cat", stdin=b"").stdout == b""


def test_terminal_is_one(adb: Adb) -> None:
    done = adb.run("shell", "-tt", "tty; stty size; exit 4", stdin=b"")
    assert done.returncode == 4
    assert b"/dev/pts/" in done.stdout
    typed = adb.run("shell", "-tt", stdin=b"echo $((40 + 2))\nexit 6\n")
    assert b"\n42\r\n" in typed.stdout
    assert typed.returncode == 6


def test_exec_out_is_raw(adb: Adb) -> None:
    assert adb.run("exec-out", "printf 'a\\r\\nb\\0c'").stdout == b"a\r\nb\0c"


def test_push_and_pull_give_the_same_bytes(adb: Adb, tmp_path: Path) -> None:
    source = tmp_path / "five"
    source.write_bytes(_FIVE_MB)
    source.chmod(0o750)
    os.utime(source, (1_600_000_000, 1_600_000_000))
    assert adb.run("push", str(source), f"{TMP}/five").returncode == 0
    expected = hashlib.sha256(_FIVE_MB).hexdigest()
    assert adb.said(f"sha256sum {TMP}/five").split()[0] == expected
    assert adb.said(f"stat -c '%s %Y %a' {TMP}/five") == "5000000 1600000000 777\n"
    assert adb.run("pull", f"{TMP}/five", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == _FIVE_MB


def test_folder_goes_over_and_back(adb: Adb, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep/deeper").mkdir(parents=True)
    (folder / "deep/deeper/name with ä").write_bytes(b"x" * 70_000)
    (folder / "empty file").write_bytes(b"")
    assert adb.run("push", str(folder), TMP).returncode == 0
    assert adb.run("pull", f"{TMP}/folder", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back/deep/deeper/name with ä").read_bytes() == b"x" * 70_000
    assert (tmp_path / "back/empty file").read_bytes() == b""


def test_a_link_does_not_lead_out_of_the_phone(adb: Adb, tmp_path: Path) -> None:
    adb.said(f"rm -rf {TMP}/out; ln -s /../../../../../../etc {TMP}/out")
    done = adb.run("pull", f"{TMP}/out/hostname", str(tmp_path / "stolen"))
    assert done.returncode != 0
    adb.said(f"ln -sf loop {TMP}/loop")
    assert adb.run("pull", f"{TMP}/loop", str(tmp_path / "loop")).returncode != 0


def test_a_missing_file_is_said_to_be_missing(adb: Adb, tmp_path: Path) -> None:
    done = adb.run("pull", f"{TMP}/nothing", str(tmp_path / "nothing"))
    assert done.returncode != 0
    assert b"No such file" in done.stderr + done.stdout


def test_detached_job_outlives_the_connection(adb: Adb) -> None:
    adb.said(
        f"cd {TMP}; rm -f end; "
        "setsid sh -c 'sleep 1; echo yes > end' </dev/null >/dev/null 2>&1 & echo started"
    )
    adb.disconnect()
    time.sleep(1.2)
    adb.connect()
    assert adb.said(f"cat {TMP}/end") == "yes\n"


def test_command_ends_when_the_host_goes_away(adb: Adb, phone: Running) -> None:
    import subprocess

    held = subprocess.Popen(
        ["adb", "-s", adb.serial, "shell", f"echo $$ > {TMP}/pid; sleep 60; echo late > {TMP}/l"],
        env=adb.environment,
        stdin=subprocess.DEVNULL,
    )
    pid_file = phone.folder / "root" / TMP[1:] / "pid"
    wait(lambda: pid_file.exists() and pid_file.read_text() != "", 10)
    pid = int(pid_file.read_text())
    held.kill()
    held.wait()
    wait(lambda: not Path(f"/proc/{pid}").exists(), 10)


def test_a_server_under_nohup(adb_server: dict[str, str], tmp_path: Path) -> None:
    """It ignores SIGHUP, and its programs would inherit that: none would end with its host."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with powered(Settings(folder=tmp_path / "state")) as phone:
            adb = Adb(adb_server, phone.serial)
            adb.run("connect", phone.serial)
            assert adb.shell("kill -HUP $$; echo alive").stdout == b""
            adb.disconnect()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_refused_key_is_unauthorized_until_it_is_accepted(
    adb_server: dict[str, str], tmp_path: Path
) -> None:
    settings = Settings(folder=tmp_path / "state", faults=("refuse-auth",))
    with powered(settings) as phone:
        adb = Adb(adb_server, phone.serial)
        adb.run("connect", phone.serial)
        assert adb.state() == "unauthorized"
        assert b"unauthorized" in adb.shell("true").stderr
        phone.clear("refuse-auth")
        wait(lambda: adb.state() == "device", 10)
        adb.disconnect()
        assert b"connected to" in adb.run("connect", phone.serial).stdout
        adb.disconnect()
