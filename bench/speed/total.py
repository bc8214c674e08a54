"""T_total of the paper's protocol by a random Imp-3B of full size, at 4 bits and 196 pixels: our
runner and stock `llama-mtmd-cli` by turns.

`python -m imp_deploy.bench.speed.total` needs 11 GB of disk and, on two cores, a quarter of an
hour. Both answer the same prompt of 41 text tokens about the same picture of 640 x 480 pixels with
64 tokens, whatever these are. Each run is a process of its own that has loaded and warmed up the
model before the time begins, and both are timed from the decoded picture to the 64th token.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from imp_deploy import prompt, runner
from imp_deploy.bench.full_size import have_checkpoint
from imp_deploy.bench.picture import default_picture
from imp_deploy.bench.speed import asked, disk, mtmd_cli, report, text
from imp_deploy.bench.speed.bundles import files_of, have_bundle, tuned_for
from imp_deploy.bench.speed.ours import Kernels, answers
from imp_deploy.bench.speed.report import Comparison
from imp_deploy.bench.speed.rounds import by_turns
from imp_deploy.bundle import load
from imp_deploy.errors import DeviceError
from imp_deploy.image import write_ppm

TEXT_TOKENS, GENERATED, SIDE = 41, 64, 196  # the paper's protocol
_QUESTION = "What is in the picture?"
STOCK, STOCK_8 = "llama-mtmd-cli", "llama-mtmd-cli with our 8-bit tower"
TARGET = 0.8


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to run our runner; `settings` are keys of its job."""

    name: str
    vision_bits: int
    kernels: Kernels
    settings: tuple[tuple[str, Any], ...] = ()
    target: float | None = None


def ways() -> list[Way]:
    return [
        Way(name="imp-deploy", vision_bits=8, kernels="fast", target=TARGET),
        Way(
            name="imp-deploy, text before the image cached",
            vision_bits=8,
            kernels="fast",
            settings=(("keep_text", True),),
        ),
        Way(name="imp-deploy on stock kernels and files", vision_bits=16, kernels="stock"),
    ]


def tuned_way(bundle: Path) -> Way | None:
    """With the settings that `imp-deploy tune` keeps for these files on this machine."""
    found = tuned_for(bundle, SIDE, 8)
    if found is None:
        print(f"No row with tuned settings: `imp-deploy tune {bundle} --device host` finds them.")
        return None
    keys = ("threads", "cpu_mask", "settings")
    return Way(
        name="imp-deploy, tuned",
        vision_bits=8,
        kernels="fast",
        settings=tuple((key, getattr(found, key)) for key in keys),
    )


def main() -> None:
    options = asked.parser(__doc__).parse_args()
    folder: Path = options.folder
    print("==> The checkpoint, and its files at 4 bits", flush=True)
    bundles = _bundles(folder)
    tuned = tuned_way(bundles[8])
    ours = {way.name: way for way in [*ways(), *([tuned] if tuned else [])]}
    kept = asked.chosen([STOCK, STOCK_8, *ours], options.only)
    made = report.begin(
        "total",
        folder,
        measured="seconds",
        beside={"vision": "T_VE", "prompt": "prompt", "generate": "64 tokens"},
        comparisons=[
            Comparison(row=STOCK_8, base=STOCK),
            *(Comparison(row=w.name, base=STOCK, target=w.target) for w in ours.values()),
        ],
    )
    place = options.out or folder / "total.json"

    def after(number: int, row: str, run: dict[str, float]) -> None:
        print(f"round {number + 1}, {row}: {run['seconds']:.2f} s", flush=True)
        made.add(row, run)
        report.save(made, place)

    with tempfile.TemporaryDirectory() as scratch:
        question = _question(bundles[16], Path(scratch))
        made.notes = notes(*mtmd_cli.look(question), made.machine.cores)
        _, tower = files_of(bundles[8], SIDE, 8)
        rows: dict[str, Callable[[], dict[str, float]]] = {
            STOCK: partial(_stock, question),
            STOCK_8: partial(_stock, replace(question, mmproj=tower)),
        }
        for name, way in ours.items():
            files = files_of(bundles[way.vision_bits], SIDE, way.vision_bits)
            rows[name] = partial(_ours, question, way, *files)
        for place_of_files in bundles.values():
            disk.warm(place_of_files)
        by_turns({row: rows[row] for row in kept}, options.repetitions, after=after)
    print(f"\n{report.markdown(made)}\n\nEvery run is in {place}.")


def _bundles(folder: Path) -> dict[int, Path]:
    """By the bits of the vision tower; the language model is the same."""
    checkpoint = have_checkpoint(folder / "Imp-3B")
    options = ("--bits", "4", "--resolution", str(SIDE))
    return {
        bits: have_bundle(
            checkpoint, folder / f"total-{bits}", *options, "--vision-bits", str(bits)
        )
        for bits in (16, 8)
    }


def _question(bundle: Path, scratch: Path) -> mtmd_cli.Question:
    """The protocol's, about the bench's picture, which is written into `scratch`."""
    llm, mmproj = files_of(bundle, SIDE, 16)
    picture = scratch / "picture.ppm"
    write_ppm(default_picture(), picture)
    filled = prompt.fill(load(bundle).prompt, _QUESTION)
    return mtmd_cli.Question(
        llm=llm,
        mmproj=mmproj,
        picture=picture,
        prompt=text.exactly(filled, TEXT_TOKENS, text.counter(llm)),
        tokens=GENERATED,
    )


def notes(prompt_tokens: int, threads: int, cores: int) -> list[str]:
    """What stands under the table; refuses to go on where stock reads another prompt than ours."""
    visual = prompt_tokens - TEXT_TOKENS
    if visual != (SIDE // 14) ** 2:  # patches of 14 pixels
        raise DeviceError(
            f"llama-mtmd-cli reads {prompt_tokens} tokens of prompt, which are not {TEXT_TOKENS} "
            "of text and one picture; its prompt is not ours, and its times cannot be compared."
        )
    return [
        f"{TEXT_TOKENS} text and {visual} visual tokens, {GENERATED} generated, greedy, on both "
        f"sides. llama-mtmd-cli with its defaults takes {threads} threads, our runner {cores}; the "
        "language model is Q4_0, byte for byte `llama-quantize`'s, and stock's tower F16.",
        "From the decoded picture to the last token. T_VE of llama-mtmd-cli is without "
        "preprocessing, which is in its prompt: its log does not tell them apart.",
        "`cached` is not the paper's protocol: the state behind the constant text before the "
        "image is there already, as it is for every picture but the first.",
    ]


def _stock(question: mtmd_cli.Question) -> dict[str, float]:
    times = mtmd_cli.ask(question)
    return {
        "seconds": times.total,
        "vision": times.vision,
        "prompt": times.prompt,
        "generate": times.generate,
    }


def _ours(question: mtmd_cli.Question, way: Way, llm: Path, mmproj: Path) -> dict[str, float]:
    step = runner.Step(
        id="0",
        prompt=question.prompt,
        max_tokens=question.tokens,
        image=question.picture,
        side=SIDE,
        ignore_eog=True,
    )
    job = runner.Job(model=llm, mmproj=mmproj, stop=(), steps=(step,), warmup=True)
    (answer,) = answers(dataclasses.replace(job, **dict(way.settings)), way.kernels)
    return of_answer(answer)


def of_answer(answer: runner.Answer) -> dict[str, float]:
    """The times of an answer to the protocol's question; another number of tokens is an error."""
    tokens = (answer.tokens.text, answer.tokens.generated)
    if tokens != (TEXT_TOKENS, GENERATED):
        raise DeviceError(
            f"The runner counts {tokens[0]} text and {tokens[1]} generated tokens instead of "
            f"{TEXT_TOKENS} and {GENERATED}; its times cannot be compared."
        )
    return {
        "seconds": answer.seconds.total,
        "vision": answer.seconds.vision,
        "prompt": answer.seconds.prompt,
        "generate": answer.seconds.generate,
    }


if __name__ == "__main__":
    asked.run(main)
