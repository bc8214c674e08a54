"""What the runner can be built for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of phone. `needs`: the features that /proc/cpuinfo must list; a program with an
    instruction that the phone lacks dies with SIGILL. `flags`: options for CMake."""

    name: str
    needs: frozenset[str]
    flags: tuple[str, ...]
    ndk: bool = False


@dataclass(frozen=True, kw_only=True)
class Built:
    """A program for a phone. `flags`: compiler and options, for the record of a measurement."""

    target: str
    program: Path
    flags: str
    sha256: str


# Generic ARMv8 kernels without dotprod are several times slower, so there is no build for them.
_DOTPROD = frozenset({"asimddp", "asimdhp"})
_CPU = "generic+v8_2a+dotprod+fullfp16"

DOTPROD = Target(name="android-dotprod", needs=_DOTPROD, flags=(f"-DIMP_CPU={_CPU}",))
I8MM = Target(name="android-i8mm", needs=_DOTPROD | {"i8mm"}, flags=(f"-DIMP_CPU={_CPU}+i8mm",))
NDK = Target(
    name="android-ndk",
    needs=_DOTPROD | {"i8mm"},
    flags=(
        "-DANDROID_ABI=arm64-v8a",
        "-DANDROID_PLATFORM=android-28",
        "-DANDROID_STL=c++_static",
        "-DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod+fp16+i8mm",
        "-DGGML_OPENCL=ON",
        "-DGGML_OPENCL_EMBED_KERNELS=ON",
        "-DIMP_OFFLOAD=ON",
    ),
    ndk=True,
)

TARGETS = (I8MM, DOTPROD)
"""Built with zig; the first that a phone can run is the best for it."""


def best_target(features: frozenset[str]) -> Target | None:
    """For a phone with these features, as /proc/cpuinfo spells them; None when there is none."""
    return next((target for target in TARGETS if target.needs <= features), None)
