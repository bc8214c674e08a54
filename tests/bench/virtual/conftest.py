"""Virtual phones, and the clients of others that talk to them: Debian's adb and adb-shell."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from adb_shell.auth.keygen import keygen
from adb_shell.auth.sign_pythonrsa import PythonRSASigner

from imp_deploy.bench.virtual import tools
from imp_deploy.bench.virtual.power import Running, powered
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.build import cache_folder
from imp_deploy.errors import DeviceError
from tests.bench.virtual.clients import Adb, zig


@pytest.fixture(scope="session", autouse=True)
def _phone_can_run() -> None:
    try:
        tools.find()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One phone for the tests of a file; a test that lets it misbehave ends that itself."""
    with powered(Settings(folder=tmp_path_factory.mktemp("phone") / "state")) as running:
        yield running


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an adb client with a server and keys of its own."""
    if shutil.which("adb") is None:
        pytest.skip("adb is not installed (Debian: apt-get install adb)")
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("ANDROID_SERIAL", "ANDROID_ADB_SERVER_ADDRESS", "ADB_VENDOR_KEYS")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    environment |= {"HOME": str(home), "ANDROID_ADB_SERVER_PORT": str(port)}
    environment |= {"TMPDIR": str(home), "ADB_MDNS": "0"}
    yield environment
    subprocess.run(["adb", "kill-server"], env=environment, capture_output=True, check=False)


@pytest.fixture
def adb(adb_server: dict[str, str], phone: Running) -> Iterator[Adb]:
    """Debian's adb, connected to `phone`."""
    client = Adb(adb_server, phone.serial)
    client.connect()
    yield client
    client.disconnect()


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> PythonRSASigner:
    """An RSA key for adb-shell."""
    path = tmp_path_factory.mktemp("key") / "adbkey"
    keygen(str(path))
    return PythonRSASigner(path.with_suffix(".pub").read_text(), path.read_text())


@pytest.fixture(scope="session")
def arm_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """arm.c, built for the phone."""
    program = tmp_path_factory.mktemp("arm") / "arm"
    source = Path(__file__).with_name("arm.c")
    subprocess.run(
        [
            *(str(zig()), "cc", "-target", "aarch64-linux-musl", "-static", "-O1"),
            *(str(source), "-o", str(program)),
        ],
        env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(cache_folder() / "zig")},
        check=True,
    )
    return program
