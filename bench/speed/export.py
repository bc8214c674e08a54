"""Exporting a random Imp-3B of full size: `imp-deploy export` and llama.cpp's pipeline by turns.

`python -m imp_deploy.bench.speed.export` needs 36 GB of disk (the checkpoints, 12 GB, are made once
and kept), PyTorch and transformers (the pipeline's converter imports them), and about 15 minutes.
Ours writes language model and vision towers, the pipeline only the language model, which is all
that it can convert. Sources are in the page cache for both, outputs are removed before each run and
are on the disk at the end of it.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from imp_deploy.bench.full_size import have_checkpoint
from imp_deploy.bench.speed import asked, child, disk, report
from imp_deploy.bench.speed.floor import Floor, floor_of
from imp_deploy.bench.speed.pipeline import convert_and_quantize
from imp_deploy.bench.speed.plain_phi2 import have_plain
from imp_deploy.bench.speed.report import Comparison
from imp_deploy.bench.speed.rounds import by_turns
from imp_deploy.bench.speed.same import differences
from imp_deploy.errors import BadInput, DeviceError

ALL, ALL_STOCK = "16, 8, 4 bits: export", "16, 8, 4 bits: convert + llama-quantize"
FOUR, FOUR_STOCK = "4 bits: export", "4 bits: convert + llama-quantize"
OPTIONS = {
    ALL: ("--bits", "16,8,4", "--resolution", "384,196"),
    FOUR: ("--bits", "4", "--resolution", "384,196"),
}
COMPARISONS = (
    Comparison(row=ALL, base=ALL_STOCK, target=0.5),
    Comparison(row=FOUR, base=FOUR_STOCK, target=0.35),
)
BESIDE = {"cpu_seconds": "CPU seconds", "peak_mb": "peak MB", "gib": "GiB written"}
_GUIDE = "Memory at most 600 MB (the pipeline: about 900)."


def main() -> None:
    options = asked.parser(__doc__).parse_args()
    for module in ("torch", "transformers"):
        if importlib.util.find_spec(module) is None:
            raise BadInput(f"{module} is missing, which llama.cpp's converter needs; install it.")
    folder: Path = options.folder
    print("==> The checkpoint, and its language model as a plain Phi-2", flush=True)
    checkpoint = have_checkpoint(folder / "Imp-3B")
    plain = have_plain(checkpoint, folder / "Phi-2")
    ours, theirs = folder / "out-export", folder / "out-pipeline"
    rows: dict[str, Callable[[], dict[str, float]]] = {
        ALL_STOCK: partial(_pipeline, plain, theirs, ("F16", "Q8_0", "Q4_0")),
        ALL: partial(_export, checkpoint, ours, OPTIONS[ALL]),
        FOUR_STOCK: partial(_pipeline, plain, theirs, ("Q4_0",)),
        FOUR: partial(_export, checkpoint, ours, OPTIONS[FOUR]),
    }
    kept = asked.chosen(list(rows), options.only)
    made = report.begin(
        "export", folder, measured="seconds", beside=BESIDE, comparisons=COMPARISONS
    )
    place = options.out or folder / "export.json"
    floors: dict[str, Floor] = {}

    def after(number: int, row: str, run: dict[str, float]) -> None:
        print(f"round {number + 1}, {row}: {run['seconds']:.2f} s", flush=True)
        if row in OPTIONS and row not in floors:
            floors[row] = _apart(checkpoint, ours)
        made.add(row, run)
        report.save(made, place)

    try:
        by_turns({row: rows[row] for row in kept}, options.repetitions, after=after)
        made.notes = [
            _GUIDE,
            *(f.sentence(row, made.of(row, "seconds").median) for row, f in floors.items()),
            *_same(ours, theirs),
        ]
    finally:
        for out in (ours, theirs):
            shutil.rmtree(out, ignore_errors=True)
    report.save(made, place)
    print(f"\n{report.markdown(made)}\n\nEvery run is in {place}.")


def _export(checkpoint: Path, out: Path, options: tuple[str, ...]) -> dict[str, float]:
    """One export into an empty folder; it flushes its files itself."""
    shutil.rmtree(out, ignore_errors=True)
    disk.warm(checkpoint)
    os.sync()  # what earlier runs left is not this one's to write
    argv = [sys.executable, "-m", "imp_deploy", "export", str(checkpoint), str(out), *options]
    spent = child.run([*argv, "--force", "--json"])
    return {
        "seconds": spent.seconds,
        "cpu_seconds": spent.cpu_seconds,
        "peak_mb": spent.peak_bytes / 1e6,
        "gib": sum(f.stat().st_size for f in out.iterdir()) / 2**30,
    }


def _pipeline(plain: Path, out: Path, types: tuple[str, ...]) -> dict[str, float]:
    shutil.rmtree(out, ignore_errors=True)
    disk.warm(plain)
    return convert_and_quantize(plain, out, types)


def _apart(checkpoint: Path, ours: Path) -> Floor:
    """In a process of its own: the peak memory of a child begins at its parent's."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(floor_of, checkpoint, ours).result()


def _same(ours: Path, theirs: Path) -> list[str]:
    """Whether both made the same language model of 4 bits in their last runs."""
    files = [next(ours.glob("*-Q4_0.gguf"), None), next(theirs.glob("Q4_0.gguf"), None)]
    mine, other = files
    if mine is None or other is None:
        return []
    different, count = differences(mine, other)
    if different:
        raise DeviceError(f"The two language models differ, so the times say nothing: {different}.")
    return [f"Both wrote the same language model: at 4 bits, {count} tensors are equal bytewise."]


if __name__ == "__main__":
    asked.run(main)
