"""Virtual phones, and a real adb server that nobody else uses."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from imp_deploy import process
from imp_deploy.bench import adb_direct, adb_keys
from imp_deploy.bench.device import Device
from imp_deploy.bench.virtual import tools
from imp_deploy.bench.virtual.power import Running, powered
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.errors import DeviceError
from tests.bench.devices.real_adb import Adb


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "adbkey"
    adb_keys.create(path)
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for every test, with an adb key, and a port where no adb server is."""
    folder = tmp_path / "home"
    (folder / ".android").mkdir(parents=True)
    for name in ("adbkey", "adbkey.pub"):
        shutil.copy(key.with_name(name), folder / ".android" / name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    for name in ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_ADDRESS", "ADB_VENDOR_KEYS"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    return folder


@pytest.fixture
def virtual() -> None:
    """Skips where the virtual phone cannot run."""
    _require_virtual()


def _require_virtual() -> None:
    try:
        tools.find()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Running]:
    _require_virtual()
    with powered(Settings(folder=tmp_path / "phone", disk_bytes=1 << 30)) as running:
        yield running


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Running]:
    _require_virtual()
    with powered(Settings(folder=tmp_path / "second")) as running:
        yield running


@pytest.fixture
def direct(phone: Running) -> Iterator[Device]:
    device = adb_direct.connect_tcp(phone.host, phone.port)
    yield device
    device.close()


@pytest.fixture
def adb() -> Iterator[Adb]:
    if shutil.which("adb") is None:
        pytest.skip("adb is not installed")
    made = Adb()
    made("start-server")
    yield made
    process.run(["adb", "kill-server"], timeout=30)
