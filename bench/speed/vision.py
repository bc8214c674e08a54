"""Visual encoding (T_VE) by a random tower of full size: stock libmtmd and our kernels by turns.

`python -m imp_deploy.bench.speed.vision` needs 6 GB of disk and, on two cores, a quarter of an
hour. The language model has one layer, because none is asked. Each run is a process of its own:
the model is loaded and warmed up, one step is thrown away, and the run's figure is the median of
the next ones, from the decoded picture to its embeddings, preprocessing included.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from imp_deploy import runner
from imp_deploy.bench.full_size import have_checkpoint
from imp_deploy.bench.picture import default_picture
from imp_deploy.bench.quality.embeddings import Rounded, cosines, rounded
from imp_deploy.bench.speed import asked, report
from imp_deploy.bench.speed.bundles import files_of, have_bundle
from imp_deploy.bench.speed.ours import Kernels, answers
from imp_deploy.bench.speed.report import Comparison
from imp_deploy.bench.speed.rounds import by_turns
from imp_deploy.image import write_ppm

_PROMPT = "USER: <image>\nWhat is in the picture? ASSISTANT:"
_STEPS = 3  # of each run, after one that warms up


@dataclass(frozen=True, kw_only=True)
class Way:
    """A tower of so many bits on one of the two sets of kernels."""

    bits: int
    kernels: Kernels
    resolution: int

    def name(self) -> str:
        tower = "F16" if self.bits == 16 else f"{self.bits}-bit"
        whose = "stock libmtmd" if self.kernels == "stock" else "our kernels"
        return f"{self.resolution}: {tower} tower, {whose}"


def ways(resolution: int) -> list[Way]:
    """The first is what the others are compared with."""
    rows: list[tuple[int, Kernels]] = [(16, "stock"), (8, "stock"), (8, "fast"), (4, "fast")]
    return [Way(bits=bits, kernels=k, resolution=resolution) for bits, k in rows]


def main() -> None:
    parser = asked.parser(__doc__)
    parser.add_argument("--resolution", default="196,384", help="sides in pixels")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    options = parser.parse_args()
    folder: Path = options.folder
    sides = [int(side) for side in options.resolution.split(",")]
    rows = [way for side in sides for way in ways(side)]
    kept = asked.chosen([way.name() for way in rows], options.only)
    print("==> The checkpoint, and its towers at 16, 8 and 4 bits", flush=True)
    checkpoint = have_checkpoint(folder / "Imp-3B-tower", layers=1)
    # Other resolutions than those that are asked for would only take time.
    bundles = {
        bits: have_bundle(
            checkpoint,
            folder / f"tower-{bits}",
            *("--bits", "4", "--vision-bits", str(bits), "--resolution", options.resolution),
        )
        for bits in (16, 8, 4)
    }
    made = report.begin(
        "vision",
        folder,
        measured="seconds",
        beside={"worst_cosine": "worst cosine", "mean_cosine": "mean cosine"},
        comparisons=[
            Comparison(
                row=way.name(),
                base=ways(way.resolution)[0].name(),
                target=0.7 if (way.bits, way.kernels, way.resolution) == (8, "fast", 196) else None,
            )
            for way in rows
            if way != ways(way.resolution)[0]
        ],
    )
    made.notes = [
        "`stock libmtmd` is the library as pip installed it, called by our runner; nothing in it "
        "and in how it computes is changed.",
        f"A run is a process of its own; its figure is the median of {_STEPS} encodings after a "
        "warm-up. Cosines are those of each visual token with the F16 tower on stock libmtmd.",
    ]
    place = options.out or folder / "vision.json"
    with tempfile.TemporaryDirectory() as scratch:
        measure = _Measuring(bundles, Path(scratch), options.threads).run
        chosen = [way for way in rows if way.name() in kept]
        for side in sides:
            measure(ways(side)[0])  # the reference of the cosines, and the caches

        def after(number: int, row: str, run: dict[str, float]) -> None:
            print(f"round {number + 1}, {row}: {run['seconds']:.3f} s", flush=True)
            made.add(row, run)
            report.save(made, place)

        runs: dict[str, Callable[[], dict[str, float]]] = {
            way.name(): partial(measure, way) for way in chosen
        }
        by_turns(runs, options.repetitions, after=after)
    print(f"\n{report.markdown(made)}\n\nEvery run is in {place}.")


class _Measuring:
    """Keeps the embeddings that the others are compared with, one per resolution."""

    def __init__(self, bundles: dict[int, Path], scratch: Path, threads: int) -> None:
        self._bundles, self._scratch, self._threads = bundles, scratch, threads
        self._references: dict[int, Rounded] = {}
        self._picture = scratch / "picture.ppm"
        write_ppm(default_picture(), self._picture)

    def run(self, way: Way) -> dict[str, float]:
        llm, mmproj = files_of(self._bundles[way.bits], way.resolution, way.bits)
        kept = self._scratch / "embeddings"
        steps = tuple(
            runner.Step(
                id=str(number),
                prompt=_PROMPT,
                max_tokens=1,
                image=self._picture,
                side=way.resolution,
                embeddings=kept if number == 0 else None,
            )
            for number in range(_STEPS + 1)
        )
        job = runner.Job(
            model=llm, mmproj=mmproj, stop=(), steps=steps, threads=self._threads, warmup=True
        )
        first, *rest = answers(job, way.kernels)
        embeddings = rounded(np.fromfile(kept, np.float32).reshape(first.tokens.visual, -1))
        found = cosines(self._references.setdefault(way.resolution, embeddings), embeddings)
        return {
            "seconds": statistics.median(a.seconds.vision for a in rest),
            "worst_cosine": found.worst,
            "mean_cosine": found.mean,
            "threads": float(first.threads),
        }


if __name__ == "__main__":
    asked.run(main)
