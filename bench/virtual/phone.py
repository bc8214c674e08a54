"""The phone as hosts see it: its banner, whom it lets in, its services, its link."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from imp_deploy.bench.virtual import keys, places, shell_service, sync_service
from imp_deploy.bench.virtual.disk import Disk
from imp_deploy.bench.virtual.faults import Active
from imp_deploy.bench.virtual.guest import Guest
from imp_deploy.bench.virtual.link import Link, Stream
from imp_deploy.bench.virtual.machine import Machine
from imp_deploy.bench.virtual.protocol import Broken
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.bench.virtual.socs import Soc

_NOISE = (
    b'WARNING: linker: Warning: unable to normalize "$ORIGIN/../lib64" (ignoring)\n'
    b"WARNING: linker: /system/lib64/libvirtual.so: unused DT entry: type 0x6ffffef5\n"
)
_POLL = 0.05


class Phone:
    def __init__(
        self, settings: Settings, soc: Soc, machine: Machine, disk: Disk, faults: Active
    ) -> None:
        self._settings = settings
        self._soc = soc
        self._machine = machine
        self._disk = disk
        self._faults = faults
        self._links: set[Link] = set()
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._keys = settings.place() / "adb_keys"

    def serve(self, link: Link) -> None:
        """A host opened a connection."""
        if time.monotonic() < self._away_until:
            link.cut()
            return
        with self._lock:
            self._links.add(link)
        try:
            while "offline" in self._faults and not link.hung_up():
                time.sleep(_POLL)
            link.run()
        finally:
            with self._lock:
                self._links.discard(link)

    def cut(self) -> None:
        """Breaks every connection off."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def go_away(self, seconds: float) -> None:
        """As `cut`, and nobody comes in for so long."""
        self._away_until = time.monotonic() + seconds
        self.cut()

    def banner(self) -> str:
        features = ["cmd", "stat_v2", "fixed_push_mkdir", "fixed_push_symlink_timestamp"]
        if "no-shell-v2" not in self._faults:
            features.insert(0, "shell_v2")
        pairs = {
            "ro.product.name": f"virtual_{self._soc.name.lower()}",
            "ro.product.model": f"Virtual {self._soc.name}",
            "ro.product.device": "virtual",
            "features": ",".join(features),
        }
        return "device::" + "".join(f"{name}={value};" for name, value in pairs.items())

    def needs_key(self) -> bool:
        return self._settings.consent != "open" or "refuse-auth" in self._faults

    def known_keys(self) -> tuple[keys.PublicKey, ...]:
        """Whom the person let in before; the fault takes all of that back."""
        return () if "refuse-auth" in self._faults else keys.known(self._keys)

    def authorises(self, payload: bytes, gone: Callable[[], bool]) -> bool:
        key = keys.parse(payload)
        if key is None:
            return False
        while self._refuses():
            if gone():
                return False
            time.sleep(_POLL)
        with self._lock:
            if key not in keys.known(self._keys):
                keys.remember(self._keys, payload)
        return True

    def _refuses(self) -> bool:
        return self._settings.consent == "refuse" or "refuse-auth" in self._faults

    def service(self, name: str) -> Callable[[Stream], None] | None:
        if name == "sync:":
            return partial(sync_service.serve, storage=self)
        request = shell_service.parse(name)
        if request is None or (request.packets and "no-shell-v2" in self._faults):
            return None
        return partial(shell_service.serve, request=request, shells=self)

    def received(self, count: int) -> None:
        self._delay(count)
        if self._faults.spend("drop-after", count):
            self.cut()
            raise Broken("dropped")  # what has just arrived is not read any more

    def sent(self, count: int) -> None:
        self._delay(count)
        if self._faults.spend("drop-after-sent", count):
            self.cut()

    def _delay(self, count: int) -> None:
        rate = self._faults.get("slow")
        if rate is not None:
            time.sleep(count / max(1, int(rate)))

    def place(self, path: str, *, follow: bool) -> Path:
        return places.on_host(self._machine.root, path, follow=follow)

    def take(self, count: int) -> bool:
        return self._disk.take(count)

    def start(self, command: str, *, terminal: bool, apart: bool, term: str) -> Guest:
        return self._machine.start(command, terminal=terminal, apart=apart, term=term)

    def printed(self, data: bytes) -> bytes:
        return data.replace(b"\n", b"\r\n") if "crlf" in self._faults else data

    def before(self) -> bytes:
        return self.printed(_NOISE) if "noise" in self._faults else b""
