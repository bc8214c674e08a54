"""Brings what a run needs to a device: the bundle's files, the picture and the runner."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from imp_deploy.bench.programs import Program
from imp_deploy.bench.session import Session
from imp_deploy.bench.store import Deployed, Wanted, deploy
from imp_deploy.bench.subject import Subject
from imp_deploy.progress import Progress


def bring(
    session: Session,
    subject: Subject,
    program: Program,
    progress: Progress,
    say: Callable[[str], None],
) -> Deployed:
    """Only what is not there yet goes over. Raises `DeviceError` for a device without the space."""
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / "picture.ppm"
        picture.write_bytes(subject.picture)
        wanted = [
            *(Wanted(subject.folder / f.path, f.sha256, f.bytes) for f in subject.files),
            Wanted(picture, subject.picture_sha256, len(subject.picture)),
            Wanted(program.path, program.sha256, program.path.stat().st_size, executable=True),
        ]
        return deploy(session.device, wanted, progress, note=say)
