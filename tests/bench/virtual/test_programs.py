"""The phone's shell and its ARM programs: what a job of the harness relies on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imp_deploy.bench.virtual.power import powered
from imp_deploy.bench.virtual.settings import Settings
from tests.bench.virtual.clients import TMP, Adb, wait


@pytest.fixture
def arm(adb: Adb, arm_program: Path) -> str:
    assert adb.run("push", str(arm_program), f"{TMP}/arm").returncode == 0
    return f"{TMP}/arm"


@pytest.fixture(scope="module")
def old_adb(adb_server: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adb]:
    """adb on a Snapdragon 888, which has no i8mm."""
    settings = Settings(folder=tmp_path_factory.mktemp("old") / "state", soc="SM8350")
    with powered(settings) as phone:
        client = Adb(adb_server, phone.serial)
        client.connect()
        yield client
        client.disconnect()


def test_an_arm_program_runs_with_its_status(adb: Adb, arm: str) -> None:
    done = adb.shell(f"{arm} hello")
    assert (done.returncode, done.stdout) == (5, b"hello from 64-bit ARM\n")


def test_a_pipe_of_shell_and_arm(adb: Adb, arm: str) -> None:
    assert adb.said(f"{arm} hello | sed s/hello/bye/ | head -c 3") == "bye"


def test_i8mm_is_there_on_the_new_phone_only(
    adb: Adb, arm: str, old_adb: Adb, arm_program: Path
) -> None:
    assert adb.said(f"{arm} i8mm") == "i8mm\n"
    assert "i8mm" in adb.said("cat /proc/cpuinfo")
    old_adb.run("push", str(arm_program), arm)
    died = old_adb.shell(f"{arm} i8mm")
    assert died.returncode == 128 + 4, "an i8mm build on a Snapdragon 888 dies with SIGILL"
    assert "i8mm" not in old_adb.said("cat /proc/cpuinfo")
    assert "asimddp" in old_adb.said("cat /proc/cpuinfo")


@pytest.mark.parametrize(
    "line",
    [
        "test $(uname -m) = aarch64",
        "test $(nproc) = 8",
        "cd /data/local/tmp && mkdir -p a/b && echo x > a/b/c && mv a/b/c a/d && rm -r a/b a",
        "timeout 0.2 sleep 5; test $? = 143",
        "echo hi | sha256sum | grep -q ^98ea6e4f216f2fb4b69fff9b3a44842c",
        "find /system -name getprop | grep -q bin",
        "f=$(mktemp) && head -c 1000 /dev/zero > $f && test $(stat -c %s $f) = 1000 && rm $f",
        "sleep 5 & kill -9 $! && wait $!; test $? = 137",
        "nohup true && setsid true",
        "test -r /dev/null && echo x > /dev/null",
        "test $(id -u) -ge 0 && grep -q CapEff:.0000000000000000 /proc/self/status",
    ],
)
def test_the_shell_is_a_real_one(adb: Adb, line: str) -> None:
    done = adb.shell(line)
    assert done.returncode == 0, done


def test_the_machine_itself_is_out_of_reach(adb: Adb, arm: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for place in (str(tmp_path / "secret"), f"/host-rootfs{tmp_path}/secret"):
        assert adb.shell(f"cat {place}").returncode != 0
        assert adb.shell(f"echo x > {place}2").returncode != 0
        # System calls that proot does not know would go to the machine's own files.
        assert adb.said(f"{arm} blind {place}") == "statx -1 2 faccessat2 -1 2\n"  # ENOENT
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]


def test_affinity_to_cores_that_this_machine_lacks_is_no_error(adb: Adb) -> None:
    assert adb.shell("taskset fc true").returncode == 0


def test_the_disk_stays_when_the_phone_goes_off(adb_server: dict[str, str], tmp_path: Path) -> None:
    for expected in (b"", b"kept\n"):
        with powered(Settings(folder=tmp_path / "state")) as phone:
            client = Adb(adb_server, phone.serial)
            client.connect()
            assert client.shell(f"cat {TMP}/note").stdout == expected
            client.said(f"echo kept > {TMP}/note")
            client.disconnect()


def test_a_guest_that_fills_the_disk_fails(
    adb_server: dict[str, str], tmp_path: Path, arm_program: Path
) -> None:
    with powered(Settings(folder=tmp_path / "state", disk_bytes=8_000_000)) as phone:
        client = Adb(adb_server, phone.serial)
        client.connect()
        client.run("push", str(arm_program), f"{TMP}/arm")
        done = client.shell(f"{TMP}/arm fill {TMP}/filled")
        assert done.stdout == b"errno 27\n"  # EFBIG
        assert (phone.folder / f"root{TMP}/filled").stat().st_size < 80_000_000
        available = int(client.said(f"df -k {TMP}").splitlines()[1].split()[3])
        assert available == 0
        client.said(f"rm {TMP}/filled")
        wait(lambda: client.shell(f"echo again > {TMP}/again").returncode == 0, 5)
        client.disconnect()


def test_a_push_that_does_not_fit_fails_and_leaves_nothing(
    adb_server: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(bytes(3_000_000))
    with powered(Settings(folder=tmp_path / "state", disk_bytes=2_000_000)) as phone:
        client = Adb(adb_server, phone.serial)
        client.connect()
        done = client.run("push", str(tmp_path / "big"), f"{TMP}/big")
        assert done.returncode != 0
        assert b"No space left on device" in done.stdout + done.stderr
        assert client.shell(f"ls {TMP}/big").returncode != 0
        client.disconnect()
        assert not (phone.folder / f"root{TMP}/big").exists()
