"""The phone as hosts see it: its banner, whom it lets in, its services."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from imp_deploy.bench.virtual import keys, places, shell_service, sync_service
from imp_deploy.bench.virtual.disk import Disk
from imp_deploy.bench.virtual.guest import Guest
from imp_deploy.bench.virtual.link import Link, Stream
from imp_deploy.bench.virtual.machine import Machine
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.bench.virtual.socs import Soc


class Phone:
    def __init__(self, settings: Settings, soc: Soc, machine: Machine, disk: Disk) -> None:
        self._settings = settings
        self._soc = soc
        self._machine = machine
        self._disk = disk
        self._links: set[Link] = set()
        self._lock = threading.Lock()
        self.keys_file = settings.place() / "adb_keys"

    def connected(self, link: Link) -> None:
        with self._lock:
            self._links.add(link)

    def disconnected(self, link: Link) -> None:
        with self._lock:
            self._links.discard(link)

    def inject(self, fault: str) -> None:
        pass

    def clear(self, name: str | None) -> None:
        pass

    def cut(self) -> None:
        """Breaks every connection off."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def banner(self) -> str:
        features = ["cmd", "stat_v2", "fixed_push_mkdir", "fixed_push_symlink_timestamp"]
        features.insert(0, "shell_v2")
        pairs = {
            "ro.product.name": f"virtual_{self._soc.name.lower()}",
            "ro.product.model": f"Virtual {self._soc.name}",
            "ro.product.device": "virtual",
            "features": ",".join(features),
        }
        return "device::" + "".join(f"{name}={value};" for name, value in pairs.items())

    def needs_key(self) -> bool:
        return self._settings.consent != "open"

    def known_keys(self) -> tuple[keys.PublicKey, ...]:
        return keys.known(self.keys_file)

    def authorises(self, payload: bytes, gone: Callable[[], bool]) -> bool:
        if keys.parse(payload) is None:
            return False
        while self._settings.consent == "refuse":
            if gone():
                return False
            time.sleep(0.05)
        keys.remember(self.keys_file, payload)
        return True

    def service(self, name: str) -> Callable[[Stream], None] | None:
        if name == "sync:":
            return partial(sync_service.serve, storage=self)
        request = shell_service.parse(name)
        if request is None:
            return None
        return partial(shell_service.serve, request=request, shells=self)

    def received(self, link: Link, count: int) -> None:
        pass

    def sent(self, link: Link, count: int) -> None:
        pass

    def place(self, path: str, *, follow: bool) -> Path:
        return places.on_host(self._machine.root, path, follow=follow)

    def take(self, count: int) -> bool:
        return self._disk.take(count)

    def start(self, command: str, *, terminal: bool, apart: bool, term: str) -> Guest:
        return self._machine.start(command, terminal=terminal, apart=apart, term=term)

    def printed(self, data: bytes) -> bytes:
        return data

    def before(self) -> bytes:
        return b""
