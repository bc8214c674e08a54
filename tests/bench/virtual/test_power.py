"""Switching on and off: a phone that stays on after its program eats a core for ever, and one that
does not start has to say what is missing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from imp_deploy.bench.virtual.power import powered
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.cli import virtual
from imp_deploy.errors import DeviceError
from tests.bench.virtual.clients import Adb, wait

_OWNER = """
import sys, time
from pathlib import Path
from imp_deploy.bench.virtual.power import powered
from imp_deploy.bench.virtual.settings import Settings
with powered(Settings(folder=Path(sys.argv[1]))) as phone:
    print(phone.serial, phone.pid, flush=True)
    time.sleep(60)
"""
_JOB = "setsid sh -c 'echo $$ > /data/local/tmp/pid; sleep 60' </dev/null >/dev/null 2>&1 &"


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _tracer(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("TracerPid:")[1].split()[0])


def _job(adb_server: dict[str, str], serial: str, folder: Path) -> int:
    """A detached job on the phone: its process here."""
    client = Adb(adb_server, serial)
    client.connect()
    client.said(_JOB)
    client.disconnect()
    file = folder / "root/data/local/tmp/pid"
    wait(lambda: file.exists() and file.read_text().endswith("\n"), 5)
    return int(file.read_text())


def test_everything_ends_with_the_phone(adb_server: dict[str, str], tmp_path: Path) -> None:
    with powered(Settings(folder=tmp_path / "state")) as phone:
        job = _job(adb_server, phone.serial, phone.folder)
        assert _alive(job)
    assert not _alive(job)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((phone.host, phone.port)).close()


@pytest.mark.parametrize("victim", ["owner", "server", "server and proot"])
def test_everything_ends_when_it_is_killed(
    adb_server: dict[str, str], tmp_path: Path, victim: str
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path / "state")], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner, owner.stdout:
        serial, server = owner.stdout.readline().split()
        job = _job(adb_server, serial, tmp_path / "state")
        if victim == "server and proot":
            os.kill(_tracer(job), signal.SIGKILL)
        os.kill(owner.pid if victim == "owner" else int(server), signal.SIGKILL)
        wait(lambda: not _alive(int(server)), 10)
        if victim != "server and proot":
            wait(lambda: not _alive(job), 10)
        owner.kill()
    with powered(Settings(folder=tmp_path / "state")):
        assert not _alive(job), "at the latest when the phone is switched on again"


def test_a_folder_has_one_phone(tmp_path: Path) -> None:
    settings = Settings(folder=tmp_path / "state")
    refused = pytest.raises(DeviceError, match="in use by another virtual phone")
    with powered(settings), refused, powered(settings):
        pass


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(folder=tmp_path / "state", port=taken.getsockname()[1])
        with pytest.raises(DeviceError, match="choose another --port"), powered(settings):
            pass


def test_a_place_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file/below", tmp_path / "with:colon"):
        refused = pytest.raises(DeviceError, match="choose another")
        with refused, powered(Settings(folder=folder)):
            pass


def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = pytest.raises(DeviceError, match="qemu-user-static proot busybox-static")
    with refused, powered(Settings(folder=tmp_path / "state")):
        pass


def test_a_busybox_with_libraries_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "busybox").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    refused = pytest.raises(DeviceError, match="install the static one")
    with refused, powered(Settings(folder=tmp_path / "state")):
        pass


def test_a_terminal_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    served = subprocess.Popen(
        [
            *(sys.executable, "-m", "imp_deploy", "virtual"),
            *("--json", "--port", "0", "--folder", str(tmp_path / "state"), "--fault", "noise"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert served.stdout is not None
    assert served.stderr is not None
    with served, served.stdout, served.stderr:
        text = b""
        while not text.endswith(b"}\n"):
            text += served.stdout.readline()
        said = json.loads(text)
        assert said["serial"] == f"{said['host']}:{said['port']}"
        assert said["folder"] == str(tmp_path / "state")
        socket.create_connection((said["host"], said["port"])).close()
        served.send_signal(signal.SIGINT)
        assert served.wait(10) == 0
        assert served.stdout.read() == b""


@pytest.mark.parametrize(
    "arguments", [("--fault", "nonsense"), ("--disk", "much"), ("--soc", "SM1")]
)
def test_wrong_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    app = typer.Typer()
    app.command(help=virtual.HELP)(virtual.command)
    result = CliRunner().invoke(app, [*arguments, "--folder", str(tmp_path / "state")])
    assert result.exit_code == 2
