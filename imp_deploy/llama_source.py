"""The pinned llama.cpp's source, unpacked once into the user's cache."""

from __future__ import annotations

import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from imp_deploy import llama, process
from imp_deploy.cache import cache_folder
from imp_deploy.errors import DeviceError
from imp_deploy.files import full_disk_is_bad_input


def source_folder() -> Path:
    """llama.cpp's source tree; the first time, pip downloads the distribution that carries it, and
    its checksum is verified before anything in it is used."""
    pinned = llama.lock()
    place = cache_folder() / f"llama-source-{pinned.sha256[:16]}"
    source = place / "vendor" / "llama.cpp"
    if source.is_dir():
        return source
    with full_disk_is_bad_input(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        # Beside its final place, so that the rename is one step.
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".llama-source-") as scratch:
            unpacked = _unpack(_download(Path(scratch)), Path(scratch) / "unpacked")
            try:
                unpacked.rename(place)
            except OSError:  # another process was faster
                if not source.is_dir():
                    shutil.rmtree(place, ignore_errors=True)
                    unpacked.rename(place)
    return source


def _download(folder: Path) -> Path:
    pinned = llama.lock()
    wanted = folder / "requirements.txt"
    # In this mode pip checks the hash before it looks into the archive.
    wanted.write_text(f"{pinned.package}=={pinned.version} --hash=sha256:{pinned.sha256}\n")
    argv = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
        *("--no-deps", "--no-binary", ":all:", "--require-hashes"),
        *("--dest", str(folder), "--requirement", str(wanted)),
    ]
    finished = process.run(argv)
    archives = list(folder.glob("*.tar.gz"))
    if finished.returncode != 0 or len(archives) != 1:
        raise DeviceError(
            f"The source of {pinned.package} {pinned.version} could not be downloaded with pip; "
            "check the network and pip's index, and run the same command again. "
            f"{finished.evidence()}"
        )
    return archives[0]


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root
