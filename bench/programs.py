"""Which runner a device gets, and what that runner says of itself there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imp_deploy import llama
from imp_deploy.bench.device import Device, Output, quoted
from imp_deploy.build.host import NAME as HOST
from imp_deploy.build.host import build_host
from imp_deploy.build.phone import build_phone
from imp_deploy.build.target import NDK, TARGETS, best_target
from imp_deploy.errors import DeviceError
from imp_deploy.files import sha256_of
from imp_deploy.progress import Progress
from imp_deploy.results import DeviceRecord, RunnerRecord

_ABI = "arm64-v8a"
_SIGILL = 128 + 4  # as a shell reports it
_BANDWIDTH_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Program:
    """A runner on this machine, made for a device. `target`: as `imp-deploy build` calls it."""

    path: Path
    target: str
    flags: str
    sha256: str


def program_for(record: DeviceRecord, progress: Progress, *, ndk: bool = False) -> Program:
    """The runner for the device of `record`, built where it is not there yet. Raises `DeviceError`
    for a processor that there is no runner for."""
    if record.kind == "host":
        path = build_host(progress=progress)
        flags = f"{llama.lock().package} {llama.lock().version} as pip installed it"
        return Program(path=path, target=HOST, flags=flags, sha256=sha256_of(path))
    if record.abi != _ABI:
        raise DeviceError(
            f"{record.kind}:{record.serial} ({record.model}) is an {record.abi} device and the "
            f"runner is built for {_ABI}; use a 64-bit ARM phone."
        )
    features = frozenset(record.features)
    target = best_target(features)
    if ndk and target is not None and NDK.needs <= features:
        target = NDK
    if target is None:
        raise DeviceError(
            f"{record.kind}:{record.serial} ({record.model}) has a processor without dotprod "
            f"({' '.join(record.features) or 'no features listed'}), on which models this large "
            "are too slow; use a phone of 2019 or newer."
        )
    built = build_phone(target, progress=progress)
    return Program(path=built.program, target=built.target, flags=built.flags, sha256=built.sha256)


def runner_record(program: Program) -> RunnerRecord:
    """All but what the runner says of itself on the device."""
    return RunnerRecord(
        target=program.target,
        llama_cpp=llama.lock().commit,
        build_flags=program.flags,
        system_info="",
        sha256=program.sha256,
    )


def system_info(device: Device, program: Program, place: str) -> str:
    """What the runner at `place` says of itself, which also proves that it runs there."""
    version = _printed(device, device.shell(quoted([place, "--version"])), program)
    return str(version["system_info"]).strip(" |")


def bandwidth(device: Device, program: Program, place: str, threads: int, mask: str) -> float:
    """Bytes per second, read plus written, of a copy on the cores of `mask` ("" for all)."""
    argv = [place, "--bandwidth", str(threads), *([mask] if mask else [])]
    output = device.shell(quoted(argv), timeout=_BANDWIDTH_SECONDS)
    return float(_printed(device, output, program)["bytes_per_second"])


def _printed(device: Device, output: Output, program: Program) -> dict[str, Any]:
    """The JSON document that the runner printed."""
    if output.status == _SIGILL:
        raise DeviceError(
            f"{device.name}: the processor does not know an instruction of the runner "
            f"{program.target} (SIGILL); report the phone's /proc/cpuinfo. {output.evidence()}"
        )
    try:
        value = json.loads(output.text) if output.status == 0 else None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        # `build android` makes all that zig builds; the others are called as they are.
        zig = any(program.target == target.name for target in TARGETS)
        what = "android" if zig else program.target
        raise DeviceError(
            f"{device.name}: the runner {program.target} does not run on this device; build it "
            f"again with `imp-deploy build {what} --force`, or report it. {output.evidence()}"
        )
    return value
