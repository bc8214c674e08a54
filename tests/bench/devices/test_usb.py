"""There is no phone on the test machine's USB ports: what can be said without one."""

from __future__ import annotations

import pytest

from imp_deploy.bench import adb_server, discover, usb
from imp_deploy.bench.virtual.power import Running
from imp_deploy.errors import DeviceError
from tests.bench.devices.real_adb import Adb

usb1 = pytest.importorskip("usb1")


def test_a_port_that_an_adb_server_holds() -> None:
    sentence = usb.sentence(usb1.USBErrorBusy(), "usb:R58N")
    assert sentence is not None
    for words in ("usb:R58N is busy", "adb:R58N", "adb kill-server"):
        assert words in sentence


def test_a_port_that_this_user_may_not_use() -> None:
    sentence = usb.sentence(usb1.USBErrorAccess(), "usb:R58N")
    assert sentence is not None
    assert "plugdev" in sentence
    assert "android-sdk-platform-tools-common" in sentence


def test_a_serial_that_is_on_no_port() -> None:
    with pytest.raises(DeviceError, match="usb:NO-SUCH-PHONE is not on a USB port"):
        usb.transport("NO-SUCH-PHONE")


def test_a_phone_that_the_running_server_shows(adb: Adb, phone: Running) -> None:
    adb("connect", phone.serial)
    adb_server.settled(phone.serial, 5)
    with pytest.raises(DeviceError, match=r"busy: an adb server owns it.*--device adb:"):
        discover.connect(f"usb:{phone.serial}")


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ((usb.Port("R58N", usable=True),), ("usb:R58N",)),
        ((usb.Port("R58N", usable=True), usb.Port("", usable=False)), ("usb:R58N",)),
    ],
)
def test_without_a_server_the_port_is_used(
    monkeypatch: pytest.MonkeyPatch, ports: tuple[usb.Port, ...], expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(usb, "ports", lambda: ports)
    assert discover.default_names() == expected


def test_without_rights_the_udev_rule_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(usb, "ports", lambda: (usb.Port("", usable=False),))
    with pytest.raises(DeviceError, match="plugdev"):
        discover.default_names()
