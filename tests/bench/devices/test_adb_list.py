from __future__ import annotations

from imp_deploy.bench.adb_list import Entry, parse_devices

PIXEL = Entry("R5CX10ABCDE", "device", "Pixel 8")


def test_what_adb_devices_prints_on_a_fresh_machine() -> None:
    text = (
        "* daemon not running; starting now at tcp:5037\r\n"
        "* daemon started successfully\r\n"
        "List of devices attached\r\n"
        "R5CX10ABCDE            device usb:1-4 product:shiba model:Pixel_8 device:shiba "
        "transport_id:1\r\n"
        "\r\n"
    )
    assert parse_devices(text) == (PIXEL,)


def test_a_server_of_another_version() -> None:
    text = (
        "adb server version (41) doesn't match this client (40); killing...\n"
        "* daemon started successfully *\n"
        "List of devices attached\n"
        "emulator-5554\tdevice\n"
    )
    assert parse_devices(text) == (Entry("emulator-5554", "device"),)


def test_the_last_line_may_lack_its_end() -> None:
    assert parse_devices("R5CX10ABCDE device model:Pixel_8") == (PIXEL,)


def test_states_that_cannot_be_used() -> None:
    text = (
        "0a1b2c3d               unauthorized usb:1-1 transport_id:3\n"
        "192.168.0.7:5555       offline transport_id:4\n"
        "9A271FFAZ00            recovery usb:3-2 product:sunfish model:Pixel_4a device:sunfish\n"
        "9A271FFAZ01            sideload usb:3-2\n"
        "ce0717171              authorizing usb:1-1 transport_id:5\n"
    )
    assert parse_devices(text) == (
        Entry("0a1b2c3d", "unauthorized"),
        Entry("192.168.0.7:5555", "offline"),
        Entry("9A271FFAZ00", "recovery", "Pixel 4a"),
        Entry("9A271FFAZ01", "sideload"),
        Entry("ce0717171", "authorizing"),
    )


def test_missing_udev_rules() -> None:
    see = "see [http://developer.android.com/tools/device.html]"
    text = (
        f"????????????\tno permissions (missing udev rules? user is in the plugdev group); {see} "
        "usb:1-2 transport_id:6\n"
        f"0a1b2c3d\tno permissions (user in plugdev group; are your udev rules wrong?); {see}\n"
        "deadbeef               no permissions usb:1-2\n"
        f"cafebabe               no permissions; {see} usb:1-2\n"
    )
    assert [entry.state for entry in parse_devices(text)] == ["no permissions"] * 4
    assert parse_devices(text)[0].serial == "????????????"


def test_wireless_debugging() -> None:
    text = "adb-R5CX-abcdef._adb-tls-connect._tcp device product:shiba model:Pixel_8 device:shiba\n"
    assert parse_devices(text) == (
        Entry("adb-R5CX-abcdef._adb-tls-connect._tcp", "device", "Pixel 8"),
    )


def test_sentences_are_no_devices() -> None:
    text = "error: device not found\nadb: failed to check server version\n\n* daemon started\n"
    assert parse_devices(text) == ()
