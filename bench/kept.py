"""The result files of earlier calls: which are done, which go on, which are of something else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from imp_deploy import results
from imp_deploy.bench.differences import difference
from imp_deploy.errors import BadInput
from imp_deploy.files import hold
from imp_deploy.results import DeviceRecord, Result, RunnerRecord, VariantRecord

_SAME = ("device", "runner", "bundle", "variant", "protocol")
# The same phone, whatever the way to it, and whichever of its cores are switched off at the moment.
_OF_DEVICE = ("serial", "model", "soc", "abi", "fingerprint", "emulated")


def result_path(out: Path, result: Result) -> Path:
    """`Imp-3B-4bit-196-SERIAL.json`; an 8- or 4-bit tower is named as well, and that the text was
    cached or the settings tuned, which are measurements of their own."""
    protocol = result.protocol
    marks = ("-cached" if protocol.cached_text else "") + ("-tuned" if protocol.settings else "")
    return path_of(out, result.bundle.name, result.variant, result.device.serial, marks=marks)


def path_of(
    out: Path, what: str, variant: VariantRecord, device: str = "", *, marks: str = ""
) -> Path:
    """`WHAT-4bit-196[-visionN][MARKS][-DEVICE].json`, whatever characters a user's names hold."""
    tower = f"-vision{variant.vision_bits}" if variant.vision_bits != 16 else ""
    place = f"{tower}{marks}{device and f'-{device}'}"
    name = f"{what}-{variant.bits}bit-{variant.resolution}{place}.json"
    # A device of `tcp:` has colons and dots in its serial.
    return out / re.sub(r"[^\w.-]+", "_", name)


def sort_out(out: Path, wanted: Sequence[Result], *, force: bool) -> tuple[Result, ...]:
    """For each of `wanted` (results without samples) the earlier result of the very same
    measurement where there is one, complete or not, or else itself. A file of another measurement
    is bad input unless `force`, which leaves everything old aside."""
    found = []
    for fresh in wanted:
        path = result_path(out, fresh)
        if force or not path.exists():
            found.append(fresh)
            continue
        try:
            old = results.load(path)
        except BadInput as error:
            raise BadInput(f"{error} Or overwrite it with --force.") from None
        device, runner = with_volatile_of(old, fresh)
        fresh = dataclasses.replace(fresh, device=device, runner=runner)
        other = [name for name in _SAME if getattr(old, name) != getattr(fresh, name)]
        if other:
            raise BadInput(
                f"{path} holds another measurement ({difference(old, fresh, other)}); choose "
                "another folder with --out, or overwrite it with --force."
            )
        found.append(old)
    return tuple(found)


def unfinished(out: Path, run: str) -> bool:
    """Whether a result file in `out` still waits for samples of this run."""
    for path in out.glob("*.json"):
        try:
            result = results.load(path)
        except BadInput:
            continue
        if result.run == run and not result.complete:
            return True
    return False


@contextmanager
def alone(out: Path, serial: str) -> Iterator[None]:
    """Holds the results of one device: two programs would overwrite each other's."""
    with hold(
        out / re.sub(r"[^\w.-]+", "_", f".{serial}.lock"),
        f"Another imp-deploy is measuring {serial} into {out}; wait for it, or choose another "
        "folder with --out.",
    ):
        yield


class _Made(Protocol):
    """What `bench` and `eval` make on a device."""

    @property
    def device(self) -> DeviceRecord: ...
    @property
    def runner(self) -> RunnerRecord: ...


def with_volatile_of(old: _Made, fresh: _Made) -> tuple[DeviceRecord, RunnerRecord]:
    """Device and runner of `fresh`, but for what may change from call to call; what the runner says
    of itself is known only once it has been started there."""
    device = dataclasses.replace(
        old.device, **{name: getattr(fresh.device, name) for name in _OF_DEVICE}
    )
    return device, dataclasses.replace(fresh.runner, system_info=old.runner.system_info)
