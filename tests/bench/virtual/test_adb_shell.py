"""adb-shell, which speaks an older version of the protocol, and several hosts at once."""

from __future__ import annotations

import io
import random
import threading
from pathlib import Path

import pytest
from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.auth.keygen import keygen
from adb_shell.auth.sign_pythonrsa import PythonRSASigner
from adb_shell.exceptions import AdbCommandFailureException, DeviceAuthError, TcpTimeoutException

from imp_deploy.bench.virtual.power import Running, powered
from imp_deploy.bench.virtual.settings import Settings
from tests.bench.virtual.clients import TMP, Adb, direct


def test_push_list_stat_pull(phone: Running, signer: PythonRSASigner, tmp_path: Path) -> None:
    content = random.Random(2).randbytes(5_000_000)
    with direct(phone, signer) as device:
        device.push(io.BytesIO(content), f"{TMP}/direct/file", mtime=1_500_000_000)
        mode, size, modified = device.stat(f"{TMP}/direct/file")
        assert (mode & 0o170000, size, modified) == (0o100000, 5_000_000, 1_500_000_000)
        assert device.stat(f"{TMP}/nothing") == (0, 0, 0)
        names = {bytes(entry.filename) for entry in device.list(f"{TMP}/direct")}
        assert names == {b".", b"..", b"file"}
        device.pull(f"{TMP}/direct/file", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == content
        with pytest.raises(AdbCommandFailureException):
            device.pull(f"{TMP}/nothing", str(tmp_path / "nothing"))


def test_without_a_key_nobody_comes_in(phone: Running) -> None:
    device = AdbDeviceTcp(phone.host, phone.port)
    with pytest.raises(DeviceAuthError):
        device.connect()
    device.close()


def test_an_unknown_key_waits_for_the_person(phone: Running, signer: PythonRSASigner) -> None:
    phone.inject("refuse-auth")
    try:
        device = AdbDeviceTcp(phone.host, phone.port)
        with pytest.raises((DeviceAuthError, TcpTimeoutException)):
            device.connect(rsa_keys=[signer], auth_timeout_s=0.5)
        device.close()
    finally:
        phone.clear()


def test_a_known_key_comes_in_and_another_does_not(signer: PythonRSASigner, tmp_path: Path) -> None:
    """Where the person refuses new keys, only a right signature opens."""
    keygen(str(tmp_path / "other"))
    texts = [(tmp_path / name).read_text() for name in ("other.pub", "other")]
    other = PythonRSASigner(*texts)
    state = tmp_path / "state"
    state.mkdir()
    (state / "adb_keys").write_bytes(signer.GetPublicKey().encode() + b"\n")
    with powered(Settings(folder=state, consent="refuse")) as phone:
        with direct(phone, signer) as device:
            assert device.shell("echo in") == "in\n"
        refused = pytest.raises((DeviceAuthError, TcpTimeoutException))
        with refused, direct(phone, other):
            pass


def test_two_clients_do_not_disturb_each_other(
    phone: Running, adb: Adb, signer: PythonRSASigner, tmp_path: Path
) -> None:
    content = random.Random(3).randbytes(8_000_000)
    (tmp_path / "big").write_bytes(content)
    answers: list[bytes] = []

    def push() -> None:
        assert adb.run("push", str(tmp_path / "big"), f"{TMP}/big").returncode == 0

    def ask() -> None:
        with direct(phone, signer) as device:
            for number in range(10):
                answers.append(device.shell(f"echo {number}", decode=False))

    threads = [threading.Thread(target=work) for work in (push, ask, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted(f"{n}\n".encode() for n in range(10) for _ in range(2))
    assert adb.run("pull", f"{TMP}/big", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == content


def test_long_output_arrives_whole(phone: Running, signer: PythonRSASigner) -> None:
    with direct(phone, signer) as device:
        said = device.shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")
        assert said.splitlines() == [f"line {n}" for n in range(20000)]
