"""Which phone is meant, and what to do when there is none."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from imp_deploy import process
from imp_deploy.bench import adb_server, describe, discover, listing
from imp_deploy.bench.virtual.power import Running, powered
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.cli import devices
from imp_deploy.errors import DeviceError
from tests.bench.devices.real_adb import Adb


@pytest.fixture
def no_usb(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that runs the tests may have a phone plugged in."""
    monkeypatch.setattr("imp_deploy.bench.usb.ports", lambda: ())


pytestmark = pytest.mark.usefixtures("no_usb")


def _connect(adb: Adb, phone: Running) -> str:
    adb("connect", phone.serial)
    entry = adb_server.settled(phone.serial, 5)
    assert entry is not None
    assert entry.state == "device"
    return f"adb:{phone.serial}"


@pytest.mark.usefixtures("adb")
def test_no_phone_says_how_to_get_one_and_what_goes_without() -> None:
    with pytest.raises(DeviceError) as caught:
        discover.default_names()
    for words in ("USB debugging", "--device virtual", "--device host"):
        assert words in str(caught.value)


def test_no_adb_program_is_no_error_in_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    assert discover.seen() == ()
    with pytest.raises(DeviceError, match=r"There is no phone.*apt-get install adb"):
        discover.default_names()


def test_the_server_is_started_where_adb_is_only_in_the_sdk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, adb: Adb
) -> None:
    real = adb_server.adb_program()
    assert real is not None
    adb("kill-server")
    tools = tmp_path / "sdk" / "platform-tools"
    tools.mkdir(parents=True)
    (tools / "adb").symlink_to(real)
    with monkeypatch.context() as changed:
        changed.setenv("PATH", "/nowhere")
        changed.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
        assert adb_server.devices() == ()
        assert adb_server.answers()


def test_the_one_phone_is_taken(adb: Adb, phone: Running) -> None:
    name = _connect(adb, phone)
    assert discover.default_names() == (name,)
    assert discover.choose([]) == (name,)
    with discover.connected(name) as device:
        assert device.name == name
        assert device.shell("echo hi").text == "hi\n"


def test_two_phones_and_no_choice(adb: Adb, phone: Running, second: Running) -> None:
    names = {_connect(adb, phone), _connect(adb, second)}
    with pytest.raises(DeviceError) as caught:
        discover.default_names()
    for name in names:
        assert f"--device {name}" in str(caught.value)
    assert set(discover.choose([*names, *names])) == names
    second.inject("refuse-auth")
    # One that cannot be used is no candidate.
    assert _settled_names(1) == (f"adb:{phone.serial}",)


def _settled_names(count: int) -> tuple[str, ...]:
    for _ in range(100):
        usable = [phone.name for phone in discover.seen() if phone.usable]
        if len(usable) == count:
            break
        threading.Event().wait(0.05)
    return discover.default_names()


def test_a_wrong_serial_lists_what_there_is(adb: Adb, phone: Running) -> None:
    name = _connect(adb, phone)
    with pytest.raises(DeviceError) as caught:
        discover.connect("adb:R58N00000")
    assert "adb:R58N00000" in str(caught.value)
    assert f"--device {name}" in str(caught.value)


@pytest.mark.usefixtures("adb")
def test_a_phone_on_the_network_that_the_server_was_not_told_of(phone: Running) -> None:
    device = discover.connect(f"adb:{phone.serial}")
    assert device.shell("echo hi").text == "hi\n"


@pytest.mark.parametrize("fault", ["refuse-auth", "offline"])
def test_a_phone_that_cannot_be_used(adb: Adb, phone: Running, fault: str) -> None:
    name = _connect(adb, phone)
    phone.inject(fault)
    process.run(["adb", "reconnect", "offline"], timeout=30)
    state = "authorised" if fault == "refuse-auth" else "does not answer|no adb:|There is no"
    with pytest.raises(DeviceError, match=state):
        discover.connect(name).shell("echo hi")
    with pytest.raises(DeviceError, match="--device virtual"):
        discover.default_names()
    shown = {entry.name: entry for entry in listing.listing()}
    if name in shown:  # the server forgets a network phone that is gone for long
        assert shown[name].state != "ready"
        assert shown[name].reason.endswith(".")
        assert shown[name].cure.endswith(".")


@pytest.mark.parametrize(
    "name", ["R58N", "adb:", "usb:", "tcp:host", "tcp:host:0", "tcp:host:99999", "host:x", ""]
)
def test_what_is_no_name_of_a_device(name: str) -> None:
    with pytest.raises(DeviceError, match="adb:SERIAL"):
        discover.choose([name])


def test_the_virtual_phone_is_on_for_the_time_of_a_command() -> None:
    with discover.connected("virtual") as device:
        assert (device.kind, device.name) == ("virtual", "virtual")
        record = describe.describe(device)
        assert record.emulated
        assert record.soc == "SM8650"
        assert "i8mm" in record.features
        assert describe.cpu_mask(describe.big_cores(record)) == "fc"
        assert record.os == "Android 14"
        found = describe.conditions(device)
        assert found.battery_percent == 80
        assert None not in vars(found).values()
    with pytest.raises(DeviceError):
        device.shell("echo off")


def test_conditions_are_told_as_they_are(phone: Running) -> None:
    device = discover.connect(f"tcp:{phone.serial}")
    for fault in ("battery=17", "charging", "battery-saver", "screen-off"):
        phone.inject(fault)
    found = describe.conditions(device)
    assert (found.battery_percent, found.charging) == (17, True)
    assert (found.battery_saver, found.screen_on) == (True, False)
    phone.clear()
    found = describe.conditions(device)
    assert (found.charging, found.battery_saver, found.screen_on) == (False, False, True)
    device.close()


def test_devices_for_programs_and_people(adb: Adb, phone: Running, tmp_path: Path) -> None:
    name = _connect(adb, phone)
    with powered(Settings(folder=tmp_path / "full", disk_bytes=100 << 20)) as full:
        small = _connect(adb, full)
        app = _app()
        done = CliRunner().invoke(app, ["--json"])
        assert done.exit_code == 0, done.output
        shown = {entry["name"]: entry for entry in json.loads(done.stdout)["devices"]}
        assert shown[name]["state"] == "ready"
        assert shown[name]["soc"] == "SM8650"
        assert shown[name]["battery_percent"] == 80
        assert 0 < shown[name]["free_bytes"] <= 1 << 30
        assert shown[small]["state"] == "no space"
        assert "--clean" in shown[small]["cure"]
        assert {"host", "virtual"} <= set(shown)
        text = CliRunner(env={"COLUMNS": "80"}).invoke(app, []).stdout
        assert f"{name} " in text
        assert f"{small} " in text
        assert f"{small}: Only" in text


def _app() -> typer.Typer:
    app = typer.Typer()
    app.command()(devices.command)
    return app


def test_the_virtual_phone_that_cannot_run_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = {entry.name: entry for entry in listing.listing()}
    assert found["virtual"].state == "not installed"
    assert "apt-get install" in found["virtual"].cure


def test_something_else_on_the_servers_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def answer() -> None:
            for _ in range(3):
                connection, _address = other.accept()
                with connection:
                    connection.settimeout(2)
                    if connection.recv(100):
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        os.environ["ANDROID_ADB_SERVER_PORT"] = str(port)
        with pytest.raises(DeviceError, match="is no adb server"):
            adb_server.devices()
        thread.join()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ANDROID_ADB_SERVER_PORT": "5999"}, ("127.0.0.1", 5999)),
        ({"ANDROID_ADB_SERVER_PORT": "5999", "ANDROID_ADB_SERVER_ADDRESS": "pc"}, ("pc", 5999)),
        ({"ADB_SERVER_SOCKET": "tcp:other:1234"}, ("other", 1234)),
        ({"ADB_SERVER_SOCKET": "tcp:1234"}, ("127.0.0.1", 1234)),
    ],
)
def test_the_servers_address_as_adb_reads_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: tuple[str, int]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    where = adb_server.address()
    assert (where.host, where.port) == expected


def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADB_SERVER_SOCKET", "localfilesystem:/tmp/adb")
    with pytest.raises(DeviceError, match="tcp:HOST:PORT"):
        adb_server.address()
