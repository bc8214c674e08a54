"""Builds the faster quantizers (native/quantize) for this machine."""

from __future__ import annotations

import hashlib
import platform
import tempfile
from pathlib import Path

from imp_deploy import llama
from imp_deploy.build import cmake
from imp_deploy.cache import cache_folder
from imp_deploy.errors import DeviceError
from imp_deploy.files import full_disk_is_bad_input, sha256_of
from imp_deploy.progress import Unseen

_LIBRARY = "libimp-quantize.so"


def quantize_library() -> Path | None:
    """The shared library, built the first time, in seconds; None where it cannot be built, for
    instance without a C compiler: ggml's own quantizers do the same, only slower."""
    sources = llama.native_folder() / "quantize"
    place = cache_folder() / f"quantize-{_key(sources)}" / _LIBRARY
    if place.is_file():
        return place
    try:
        with full_disk_is_bad_input(place), tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            build = [cmake.tool("cmake"), "--build", str(folder)]
            cmake.run(
                [cmake.configure(sources, folder, ()), build],
                cure="install a C compiler (Debian: `apt-get install gcc`)",
                phase="the quantizers for this machine",
                progress=Unseen(),
                environment={},
            )
            cmake.install(folder / _LIBRARY, place)
    except DeviceError:
        return None
    return place


def _key(sources: Path) -> str:
    """Over the sources and the processor, whose instructions the library uses."""
    digest = hashlib.sha256(f"{platform.machine()} {_features()}\n".encode())
    for path in sorted(sources.iterdir()):
        if path.is_file():
            digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()[:16]


def _features() -> str:
    """What /proc/cpuinfo says that the first core can do; "" on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
