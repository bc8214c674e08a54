"""Compares our pushes with the real adb's: medians over loopback, to the virtual phone.

`python -m imp_deploy.bench.push_rate` needs the adb program and what the virtual phone needs. The
three ways take turns, so that whatever else the machine does meets all of them.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from imp_deploy import process
from imp_deploy.bench import adb_direct, adb_server
from imp_deploy.bench.adb import ROOT
from imp_deploy.bench.device import Device
from imp_deploy.bench.virtual.power import powered
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.errors import DeviceError

_TARGET = f"{ROOT}/push-rate"


def measure(folder: Path, megabytes: int, runs: int) -> dict[str, float]:
    """Megabytes per second by way of pushing; `folder` is an empty one."""
    program = adb_server.adb_program()
    if program is None:
        raise DeviceError("adb was not found; install it (Debian: `apt-get install adb`).")
    source = folder / "file"
    block = os.urandom(1 << 20)
    with source.open("wb") as file:
        for _ in range(megabytes * 1_000_000 // len(block) + 1):
            file.write(block)
        file.truncate(megabytes * 1_000_000)
    # A server and a key of our own: the user's stay as they are.
    os.environ.pop("ADB_SERVER_SOCKET", None)
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(_free_port())
    os.environ["HOME"] = str(folder)
    with powered(Settings(folder=folder / "phone")) as phone:
        process.run([program, "start-server"], timeout=30)
        try:
            process.run([program, "connect", phone.serial], timeout=30)
            through = adb_server.connect(phone.serial)
            through.reconnect()
            direct = adb_direct.connect_tcp(phone.host, phone.port)
            ways: dict[str, Callable[[], None]] = {
                "adb push": lambda: _real(program, phone.serial, source),
                "through the adb server": lambda: _ours(through, source),
                "direct": lambda: _ours(direct, source),
            }
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(runs):
                for name, push in ways.items():
                    began = time.perf_counter()
                    push()
                    seconds[name].append(time.perf_counter() - began)
                    direct.shell(f"rm -f {_TARGET}")
            direct.close()
        finally:
            process.run([program, "kill-server"], timeout=30)
    return {name: megabytes / statistics.median(taken) for name, taken in seconds.items()}


def _real(program: str, serial: str, source: Path) -> None:
    finished = process.run([program, "-s", serial, "push", str(source), _TARGET], timeout=600)
    if finished.returncode != 0:
        raise DeviceError(finished.evidence())


def _ours(device: Device, source: Path) -> None:
    with source.open("rb", buffering=0) as file:
        device.push(file, _TARGET, mode=0o644, advance=lambda _: None)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(Path(folder), chosen.megabytes, chosen.runs)
    real = rates["adb push"]
    for name, rate in rates.items():
        print(f"{name:24} {rate:7.1f} MB/s  {rate / real:.2f}")


if __name__ == "__main__":
    main()
