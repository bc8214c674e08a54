"""The Android NDK as the compiler, for the OpenCL (Adreno) backend that a static program cannot
load. Never run where this was developed: there was no NDK."""

from __future__ import annotations

import os
from pathlib import Path

from imp_deploy.build.target import Target
from imp_deploy.errors import DeviceError

_VARIABLE = "ANDROID_NDK_ROOT"


def options(target: Target) -> tuple[list[str], str]:
    """CMake's options that choose the compiler, and its name and version."""
    root = os.environ.get(_VARIABLE)
    if not root:
        raise DeviceError(
            f"{_VARIABLE} is not set; point it to an Android NDK, or use `imp-deploy build "
            "android`, which needs none."
        )
    toolchain = Path(root) / "build" / "cmake" / "android.toolchain.cmake"
    if not toolchain.is_file():
        raise DeviceError(f"{toolchain} is missing; point {_VARIABLE} to an Android NDK (r26+).")
    return [f"--toolchain={toolchain}", *target.flags], f"NDK {_revision(Path(root))}"


def _revision(root: Path) -> str:
    """From `source.properties`, which every NDK has: `Pkg.Revision = 27.0.12077973`."""
    properties = root / "source.properties"
    lines = properties.read_text("utf-8").splitlines() if properties.is_file() else []
    values = [line.split("=", 1)[1].strip() for line in lines if line.startswith("Pkg.Revision")]
    return values[0] if values else "of unknown version"
