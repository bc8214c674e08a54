"""Switches a phone on and serves it on loopback until it is switched off."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.bench.virtual import tools
from imp_deploy.bench.virtual.confine import confine
from imp_deploy.bench.virtual.disk import Disk
from imp_deploy.bench.virtual.faults import Active, parse
from imp_deploy.bench.virtual.link import Link
from imp_deploy.bench.virtual.machine import Machine
from imp_deploy.bench.virtual.mischief import Mischief
from imp_deploy.bench.virtual.phone import Phone
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.bench.virtual.socs import SOCS, Soc
from imp_deploy.bench.virtual.world import World
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.files import full_disk_is_bad_input, locked

HOST = "127.0.0.1"
_TICK = 0.5
_HURRY = 0.05


@dataclass(frozen=True)
class Served:
    """A phone that is on, and the port at which it is."""

    port: int
    _mischief: Mischief
    _change: threading.Event

    def inject(self, fault: str) -> None:
        self._mischief.inject(parse(fault))
        self._change.set()

    def clear(self, name: str | None) -> None:
        self._mischief.clear(name)


@contextlib.contextmanager
def switched_on(settings: Settings) -> Iterator[Served]:
    """The phone, for as long as the context lasts; then all of its programs end. To be entered
    once, by the first thread of a process that does nothing else: it gives up rights."""
    given = [parse(fault) for fault in settings.faults]
    found = tools.find()
    soc = _soc(settings.soc)
    folder = settings.place()
    if ":" in str(folder):
        raise BadInput(
            f"{folder} has a colon in its name, which proot cannot take; choose another."
        )
    with full_disk_is_bad_input(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _held(folder), _listening(settings.port) as listener:
        confine()
        machine = Machine(folder, soc, found)
        machine.boot()
        disk = Disk(machine.root / "data", settings.disk_bytes)
        disk.measure()
        active = Active()
        world = World(settings, soc, machine.root, machine.proc, disk, active)
        world.create()
        phone = Phone(settings, soc, machine, disk, active)
        mischief = Mischief(machine, phone, world, disk, active)
        pulse = _Pulse(machine, world, disk, mischief)
        try:
            machine.check()
            for fault in given:
                mischief.inject(fault)
            threading.Thread(target=pulse.run, daemon=True).start()
            threading.Thread(target=_accept, args=(listener, phone), daemon=True).start()
            yield Served(listener.getsockname()[1], mischief, pulse.change)
        finally:
            pulse.end()
            phone.go_away(float("inf"))
            machine.power_off()


class _Pulse:
    """What happens again and again: about twice a second, and more often where it matters."""

    def __init__(self, machine: Machine, world: World, disk: Disk, mischief: Mischief) -> None:
        self._machine = machine
        self._world = world
        self._disk = disk
        self._mischief = mischief
        self.change = threading.Event()
        self._ended = False

    def end(self) -> None:
        self._ended = True
        self.change.set()

    def run(self) -> None:
        last = 0.0
        while not self._ended:
            hurry = self._mischief.urgent or self._disk.nearly_full
            if self.change.wait(_HURRY if hurry else _TICK):
                self.change.clear()
            self._disk.measure()
            guests = self._machine.guests()
            self._mischief.go_on(guests)
            if time.monotonic() - last >= _TICK - _HURRY:
                last = time.monotonic()
                self._machine.tick()
                self._world.go_on(guests)


def _soc(name: str) -> Soc:
    if name not in SOCS:
        raise BadInput(f"The virtual phone has no SoC {name}; it can be {' or '.join(SOCS)}.")
    return SOCS[name]


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except BadInput as error:
            if "in use" not in str(error):
                raise
            raise DeviceError(
                f"{folder} is in use by another virtual phone that runs; switch that one off, or "
                "choose another --folder."
            ) from None
        yield


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise DeviceError(
                f"Port {port} of {HOST} cannot be used ({error.strerror}); choose another --port."
            ) from None
        listener.listen(64)
        yield listener


def _accept(listener: socket.socket, phone: Phone) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=phone.serve, args=(Link(connection, phone),), daemon=True).start()
