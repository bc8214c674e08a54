"""Switches a phone on and serves it on loopback until it is switched off."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from imp_deploy.bench.virtual import tools
from imp_deploy.bench.virtual.confine import confine
from imp_deploy.bench.virtual.disk import Disk
from imp_deploy.bench.virtual.link import Link
from imp_deploy.bench.virtual.machine import Machine
from imp_deploy.bench.virtual.phone import Phone
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.bench.virtual.socs import SOCS
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.files import locked

HOST = "127.0.0.1"
_TICK = 0.5


@contextlib.contextmanager
def switched_on(settings: Settings) -> Iterator[tuple[Phone, int]]:
    """The phone and its port, for as long as the context lasts; then all of its programs end. To be
    entered once, by the first thread of a process that does nothing else: it gives up rights."""
    found = tools.find()
    soc = SOCS[settings.soc]
    folder = settings.place()
    folder.mkdir(parents=True, exist_ok=True)
    with _held(settings), _listening(settings.port) as listener:
        confine()
        machine = Machine(folder, soc, found)
        machine.boot()
        disk = Disk(machine.root / "data", settings.disk_bytes)
        phone = Phone(settings, soc, machine, disk)
        ended = threading.Event()
        try:
            machine.check()
            threading.Thread(target=_tick, args=(machine, disk, ended), daemon=True).start()
            threading.Thread(target=_accept, args=(listener, phone), daemon=True).start()
            yield phone, listener.getsockname()[1]
        finally:
            ended.set()
            phone.cut()
            machine.power_off()


@contextlib.contextmanager
def _held(settings: Settings) -> Iterator[None]:
    folder = settings.place()
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
        threading.Thread(target=_serve, args=(connection, phone), daemon=True).start()


def _serve(connection: socket.socket, phone: Phone) -> None:
    link = Link(connection, phone)
    phone.connected(link)
    try:
        link.run()
    finally:
        phone.disconnected(link)


def _tick(machine: Machine, disk: Disk, ended: threading.Event) -> None:
    while not ended.wait(_TICK):
        machine.tick()
        disk.measure()
