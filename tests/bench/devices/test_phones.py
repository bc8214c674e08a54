"""The same promises over each way to a device."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imp_deploy import process
from imp_deploy.bench import adb_direct, adb_keys, adb_server, describe, detached
from imp_deploy.bench.device import Device, LinkLost, checked
from imp_deploy.bench.disk import free_bytes
from imp_deploy.bench.host import HostDevice
from imp_deploy.bench.virtual.power import Running
from imp_deploy.errors import DeviceError
from tests.bench.devices.real_adb import Adb
from tests.bench.devices.relay import Relay

WAYS = ("host", "tcp", "adb")
PHONES = ("tcp", "adb")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    made: Device
    if request.param == "host":
        made = HostDevice()
    else:
        phone: Running = request.getfixturevalue("phone")
        if request.param == "tcp":
            made = adb_direct.connect_tcp(phone.host, phone.port)
        else:
            request.getfixturevalue("adb")("connect", phone.serial)
            made = adb_server.connect(phone.serial)
            made.reconnect()
    checked(made, f"mkdir -p {made.root}")
    yield made
    made.close()


def _push(device: Device, content: bytes, name: str = "file") -> str:
    target = f"{device.root}/some where/{name}"
    device.push(io.BytesIO(content), target, mode=0o755, advance=lambda _: None)
    return target


@pytest.mark.parametrize("device", WAYS, indirect=True)
def test_shell_push_pull_stat(device: Device, tmp_path: Path) -> None:
    output = device.shell("echo out; echo err >&2; exit 7")
    assert (output.status, output.text) == (7, "out\nerr\n")
    content = os.urandom(5_000_000)
    advanced: list[int] = []
    target = f"{device.root}/a b/it's"
    device.push(io.BytesIO(content), target, mode=0o755, advance=advanced.append)
    assert sum(advanced) == len(content)
    found = device.stat(target)
    assert found is not None
    assert found.bytes == len(content)
    assert found.mode & 0o111
    assert abs(found.modified - time.time()) < 60
    device.pull(target, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    assert device.stat(f"{device.root}/nothing") is None
    _push(device, b"")
    device.push(io.BytesIO(b"short"), target, mode=0o644, advance=lambda _: None)
    device.pull(target, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"short"


def test_a_signal_is_told_as_a_shell_tells_it() -> None:
    """SIGILL is how a runner of another processor ends: status 132, on every device."""
    assert HostDevice().shell("kill -ILL $$").status == 132


@pytest.mark.parametrize("device", WAYS, indirect=True)
def test_errors_name_device_and_path(device: Device, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=rf"{device.name}.*{device.root}/nothing"):
        device.pull(f"{device.root}/nothing", tmp_path / "back")
    assert not list(tmp_path.glob("back*"))
    below = f"{_push(device, b'no folder')}/below"
    with pytest.raises(DeviceError, match=rf"{device.name}.*{below}"):
        device.push(io.BytesIO(b"x"), below, mode=0o644, advance=lambda _: None)
    assert device.shell("echo still there").text == "still there\n"


@pytest.mark.parametrize("device", WAYS, indirect=True)
def test_a_command_that_hangs_ends_and_the_connection_stays(device: Device) -> None:
    began = time.monotonic()
    with pytest.raises(DeviceError, match=r"sleep 60.*within 1 s") as caught:
        device.shell("echo before; sleep 60", timeout=1)
    assert not isinstance(caught.value, LinkLost)
    assert time.monotonic() - began < 5
    assert device.shell("echo after").text == "after\n"


@pytest.mark.parametrize("device", WAYS, indirect=True)
def test_a_job_survives_the_connection_and_ends_when_told(device: Device) -> None:
    folder = f"{device.root}/runs/a job"
    job = ["sh", "-c", "echo started; sleep 60 & echo $! > child; wait"]
    detached.start(device, job, folder)
    device.close()
    device.reconnect()
    assert detached.running(device, folder)
    assert device.shell(f"cat '{folder}/stdout'").text == "started\n"
    detached.start(device, job, folder)
    with pytest.raises(DeviceError, match="at work"):
        detached.start(device, ["sleep", "1"], folder)
    detached.kill(device, folder)
    assert not detached.running(device, folder)
    assert detached.status(device, folder) is None
    child = f"read p < '{folder}/child' && cat /proc/$p/stat"
    assert re.fullmatch(r"(.*\) Z .*)?", device.shell(f"({child}) 2>/dev/null").text.strip())
    detached.kill(device, folder)


@pytest.mark.parametrize("device", WAYS, indirect=True)
def test_how_a_job_ended(device: Device) -> None:
    folder = f"{device.root}/runs/job"
    assert not detached.running(device, folder)
    for script, status in (("exit 3", 3), ("kill -4 $$", 132)):
        detached.start(device, ["sh", "-c", script, "two words"], folder)
        until = time.monotonic() + 10
        while detached.running(device, folder) and time.monotonic() < until:
            time.sleep(0.05)
        assert detached.status(device, folder) == status


@pytest.mark.parametrize("device", ["host", "tcp"], indirect=True)
def test_another_process_with_the_jobs_number_is_not_taken_for_it(device: Device) -> None:
    """After a reboot the number in the file is somebody else's: it must not be killed."""
    folder = f"{device.root}/runs/job"
    detached.start(device, ["sleep", "60"], folder)
    checked(device, f"cd {folder} && read p s b < pid && echo $p $((s + 1)) $b > pid")
    assert not detached.running(device, folder)
    detached.kill(device, folder)
    checked(device, f"cd {folder} && read p s b < pid && kill -0 $p && echo $p $((s - 1)) $b > pid")
    assert detached.running(device, folder)
    detached.kill(device, folder)


@pytest.mark.parametrize("device", PHONES, indirect=True)
@pytest.mark.parametrize("fault", ["crlf", "noise", "no-shell-v2"])
def test_shells_that_people_have(device: Device, phone: Running, fault: str) -> None:
    phone.inject(fault)
    device.reconnect()
    output = device.shell("echo one; echo two; exit 5")
    assert (output.status, output.text) == (5, "one\ntwo\n")
    path = _push(device, b"x" * 1000)
    found = device.stat(path)
    assert found is not None
    assert found.bytes == 1000
    assert free_bytes(device) > 0
    assert describe.boot_id(device)


@pytest.mark.parametrize("device", PHONES, indirect=True)
def test_link_lost_in_push_pull_and_shell(device: Device, phone: Running, tmp_path: Path) -> None:
    content = os.urandom(4_000_000)
    path = _push(device, content)
    for fault, action in (
        ("drop-after=1", lambda: device.shell("echo hi")),
        ("drop-after=2000000", lambda: _push(device, content, "other")),
        ("drop-after-sent=2000000", lambda: device.pull(path, tmp_path / "back")),
    ):
        phone.inject(fault)
        with pytest.raises(LinkLost, match=device.name):
            action()
        phone.clear()
        assert not list(tmp_path.glob("back*"))
        device.reconnect()
        assert device.shell("echo hi").text == "hi\n"
    device.pull(path, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.parametrize("device", PHONES, indirect=True)
def test_full_disk_in_a_push(device: Device, phone: Running) -> None:
    phone.inject("disk-full")
    sent: list[int] = []
    content = io.BytesIO(bytes(100_000_000))
    with pytest.raises(DeviceError, match=r"disk ran full.*MiB are free.*--clean") as caught:
        device.push(content, f"{device.root}/file", mode=0o644, advance=sent.append)
    assert not isinstance(caught.value, LinkLost)
    assert sum(sent) < 50_000_000  # the rest of a model need not go over for nothing


@pytest.mark.parametrize("device", ["tcp"], indirect=True)
def test_a_command_line_that_is_too_long_is_refused_aloud(device: Device) -> None:
    with pytest.raises(DeviceError, match="longer than"):
        device.shell("echo " + "x" * (1 << 20))
    assert device.shell("echo hi").text == "hi\n"


def test_the_person_at_the_phone_does_not_accept(phone: Running) -> None:
    phone.inject("refuse-auth")
    asked: list[str] = []
    with pytest.raises(DeviceError, match=r"authorised.*Allow USB debugging"):
        adb_direct.connect_tcp(phone.host, phone.port, wait=0.5, note=asked.append)
    assert "accept the dialog" in asked[0]


def test_a_phone_that_hangs(phone: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    phone.inject("offline")
    monkeypatch.setattr(adb_direct, "_CONNECT_SECONDS", 0.5)
    with pytest.raises(LinkLost, match=r"cannot be connected to \(no answer\)"):
        adb_direct.connect_tcp(phone.host, phone.port, wait=0.5)


def test_a_connection_that_dies_without_a_word_is_a_lost_link(phone: Running) -> None:
    """A phone that left the Wi-Fi: nobody closes the connection, and only a new one helps. As an
    error of the command it would end the measurement."""
    with Relay(phone.host, phone.port) as relay:
        device = adb_direct.connect_tcp("127.0.0.1", relay.port)
        assert device.shell("echo hi").text == "hi\n"
        relay.dying = True
        with pytest.raises(LinkLost, match=r"does not answer.*echo hi"):
            device.shell("echo hi", timeout=1)
        relay.dying = False
        device.reconnect()
        assert device.shell("echo hi").text == "hi\n"
        device.close()


def test_nobody_at_that_address() -> None:
    with pytest.raises(LinkLost, match=r"tcp:127\.0\.0\.1:1 cannot be connected to.*refused"):
        adb_direct.connect_tcp("127.0.0.1", 1)


def test_a_server_that_is_killed_is_started_again(adb: Adb, phone: Running) -> None:
    """Another adb of another version does this whenever somebody's IDE starts it."""
    adb("connect", phone.serial)
    device = adb_server.connect(phone.serial)
    device.reconnect()

    class Killing(io.BytesIO):
        """Kills the server when the push is half over."""

        def readinto(self, place: object) -> int:
            if self.tell() > 1_000_000 and adb_server.answers():
                adb("kill-server")
            return super().readinto(place)  # type: ignore[arg-type]

    source = Killing(os.urandom(50_000_000))
    with pytest.raises(LinkLost):
        device.push(source, f"{device.root}/x", mode=0o644, advance=lambda _: None)
    device.reconnect()
    assert device.shell("echo hi").text == "hi\n"


def test_the_key_is_adbs_own(adb: Adb, phone: Running) -> None:
    """A phone that has authorised adb on this computer must not ask again for us."""
    adb("connect", phone.serial)
    adb_server.settled(phone.serial, 5)
    asked: list[str] = []
    device = adb_direct.connect_tcp(phone.host, phone.port, note=asked.append)
    assert device.shell("echo hi").text == "hi\n"
    assert asked == []
    device.close()


@pytest.mark.usefixtures("adb")
def test_the_public_key_is_computed_as_adb_computes_it(home: Path) -> None:
    """Real phones reject one with a wrong number in it, and store it all the same."""
    path = home / ".android" / "adbkey"
    theirs = process.run(["adb", "pubkey", str(path)], timeout=30)
    assert theirs.returncode == 0, theirs.evidence()
    ours = adb_keys.public_text(adb_keys.load(path)).decode()
    assert ours.split()[0] == theirs.stdout.split()[0]


def test_a_missing_key_is_made_as_adb_makes_it(home: Path, phone: Running) -> None:
    private = home / ".android" / "adbkey"
    private.unlink()
    asked: list[str] = []
    adb_direct.connect_tcp(phone.host, phone.port, note=asked.append).close()
    assert len(asked) == 1
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert not list(private.parent.glob(".*"))
    adb_direct.connect_tcp(phone.host, phone.port, note=asked.append).close()
    assert len(asked) == 1


def test_a_key_that_several_make_at_once_is_one_pair(home: Path) -> None:
    """Two first calls at once: with halves of two pairs, or with a key that was replaced just after
    the phone had accepted it, the phone would ask at every connection."""
    private = home / ".android" / "adbkey"
    for name in ("adbkey", "adbkey.pub"):
        (home / ".android" / name).unlink()
    script = (
        "import sys; from imp_deploy.bench import adb_keys; sys.stdin.readline();"
        "print(adb_keys.signers()[0].GetPublicKey().decode())"
    )
    go, wait = os.pipe()
    makers = [
        subprocess.Popen([sys.executable, "-c", script], stdin=go, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    os.close(go)
    time.sleep(1)  # all of them have started
    os.close(wait)
    made = {maker.communicate()[0].decode().strip() for maker in makers}
    kept = adb_keys.public_text(adb_keys.load(private)).decode()
    assert made == {kept, private.with_name("adbkey.pub").read_text()}
    assert not list(private.parent.glob(".*"))


def test_a_broken_key_is_named(home: Path, phone: Running) -> None:
    (home / ".android" / "adbkey").write_text("nonsense")
    with pytest.raises(DeviceError, match="adbkey"):
        adb_direct.connect_tcp(phone.host, phone.port)
