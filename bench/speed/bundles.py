"""The bundles that vision and total are measured with: exported once, and kept."""

from __future__ import annotations

import sys
from pathlib import Path

from imp_deploy import process
from imp_deploy.bench import describe, programs
from imp_deploy.bench.discover import connected
from imp_deploy.bench.tune import choice
from imp_deploy.bench.tune.choice import Choice
from imp_deploy.bundle import Bundle, Variant, choose, load
from imp_deploy.errors import DeviceError
from imp_deploy.progress import Unseen


def have_bundle(checkpoint: Path, out: Path, *options: str) -> Path:
    """`out` with the export of `checkpoint` in it; what is there already is recognised, and what
    another version of this program left there is replaced."""
    argv = [sys.executable, "-m", "imp_deploy", "export", str(checkpoint), str(out), *options]
    if process.run(argv).returncode != 0:
        finished = process.run([*argv, "--force"])
        if finished.returncode != 0:
            raise DeviceError(f"The bundle could not be exported: {finished.evidence()}")
    return out


def files_of(folder: Path, resolution: int, vision_bits: int) -> tuple[Path, Path]:
    """The 4-bit language model and the vision tower."""
    variant = _variant(load(folder), resolution, vision_bits)
    return folder / variant.llm.path, folder / variant.vision.path


def tuned_for(folder: Path, resolution: int, vision_bits: int) -> Choice | None:
    """What `imp-deploy tune` keeps for the same two files on this machine."""
    if not choice.any_kept():
        return None
    bundle = load(folder)
    with connected("host") as host:
        record = describe.describe(host)
    program = programs.program_for(record, Unseen())
    return choice.find(record, bundle, _variant(bundle, resolution, vision_bits), program.sha256)


def _variant(bundle: Bundle, resolution: int, vision_bits: int) -> Variant:
    return choose(bundle, bits=4, resolution=resolution, vision_bits=vision_bits)
