"""Brings pictures to a device while it computes: archives that are pushed once and kept, also for
the next variant, and unpacked into the folder of the run."""

from __future__ import annotations

import hashlib
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from imp_deploy.bench.device import Device, checked
from imp_deploy.bench.evaluate.pictures import Asked, archive, pictures
from imp_deploy.bench.session import Session
from imp_deploy.bench.store import Wanted, deploy
from imp_deploy.progress import Unseen

_BATCH = 32  # few round trips, and the first pictures soon there
_UNPACK_SECONDS = 300.0


class Bringing:
    """The pictures of `missing` that are not in `folder`/pictures on the device yet. Archives are
    made of those of `every`, so that a later call makes the same ones."""

    def __init__(
        self, session: Session, folder: str, every: Sequence[Asked], missing: Sequence[Asked]
    ) -> None:
        self._session = session
        self._folder = folder
        there = session.call(lambda d: _there(d, folder))
        needed = set(pictures(missing)) - there
        numbered = list(pictures(every).items())
        batches = (dict(numbered[i : i + _BATCH]) for i in range(0, len(numbered), _BATCH))
        self._batches = [batch for batch in batches if needed & set(batch)]

    def bring(self) -> bool:
        """The next batch; False when there was none left."""
        if not self._batches:
            return False
        batch = self._batches.pop(0)
        content = archive(batch)
        digest = hashlib.sha256(content).hexdigest()
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / f"pictures {min(batch)} to {max(batch)}.tar"
            local.write_bytes(content)
            wanted = Wanted(local, digest, len(content))
            place = deploy(self._session.device, [wanted], Unseen(), note=self._session.say).paths[
                digest
            ]
        self._session.call(lambda d: _unpack(d, place, self._folder))
        return True


def _there(device: Device, folder: str) -> set[int]:
    listed = device.shell(f"ls {shlex.quote(f'{folder}/pictures')} 2>/dev/null").text.split()
    return {int(name) for name in listed if name.isdigit()}


def _unpack(device: Device, place: str, folder: str) -> None:
    """Beside their place first: the runner takes a picture as soon as it has its name."""
    checked(
        device,
        f"cd {shlex.quote(folder)} && rm -rf incoming && mkdir -p incoming pictures && "
        f"cd incoming && tar -xf {shlex.quote(place)} && mv -f * ../pictures/",
        timeout=_UNPACK_SECONDS,
    )
