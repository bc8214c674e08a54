"""The pinned llama.cpp: which version, and where pip installed its libraries and headers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from imp_deploy.errors import DeviceError


@dataclass(frozen=True)
class Lock:
    """`native/llama.lock.json`: the one llama.cpp that host and phone are built from."""

    package: str
    version: str
    commit: str
    sha256: str


def lock() -> Lock:
    return Lock(**json.loads(native_folder().joinpath("llama.lock.json").read_text()))


def native_folder() -> Path:
    """The folder with the runner's sources."""
    return Path(str(files("imp_deploy.native")))


def library_folder() -> Path:
    """Where pip put `libllama.so` and its sisters."""
    return _package() / "lib"


def include_folder() -> Path:
    """Where pip put `llama.h`, `mtmd.h` and the ggml headers."""
    folder = _package().parent / "include"
    if not (folder / "mtmd.h").is_file():
        raise DeviceError(
            f"{folder} holds no mtmd.h; install the pinned version again with "
            f"`pip install --force-reinstall {lock().package}=={lock().version}`."
        )
    return folder


def _package() -> Path:
    pinned = lock()
    install = f"`pip install {pinned.package}=={pinned.version}`"
    spec = importlib.util.find_spec(
        "llama_cpp"
    )  # found, not imported: importing loads models' libs
    if spec is None or not spec.submodule_search_locations:
        raise DeviceError(f"{pinned.package} is not installed; run {install}.")
    installed = importlib.metadata.version(pinned.package)
    if installed != pinned.version:
        raise DeviceError(
            f"{pinned.package} {installed} is installed and {pinned.version} is needed, because "
            f"exactness is proven for that version only; run {install}."
        )
    return Path(spec.submodule_search_locations[0])
