"""What 4 bits cost the demo checkpoint, by recipe: with and without an importance matrix.

`python -m imp_deploy.bench.four_bits FOLDER` writes the demo checkpoint and its pictures, exports
it at 16 bits and by every recipe, collects importance matrices on scenes that are in no evaluation,
and asks the 500 held-out questions of the demo's task: `quality` (divergence from 16 bits) and
`eval` (accuracy). The answers are the same each time, so the spread is over questions: 95 %
intervals. The demo is sure of nearly all its answers, so a handful of questions make most of its
mean divergence; the error of the matrices' products on the same questions has no such tail, and
says what a recipe does to the weights. Everything goes through the public commands; some minutes on
two cores. A second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGUFReader, dequantize
from numpy.typing import NDArray

from imp_deploy import llama, process, quality
from imp_deploy import prompt as prompts
from imp_deploy.bench import stock
from imp_deploy.bench.speed.machine import describe
from imp_deploy.bundle import load
from imp_deploy.demo import scenes
from imp_deploy.files import write_atomic, write_json_atomic

SIDE: Final = 196
_FIRST_SCENE: Final = 1 << 40  # far behind those of the training, in whose random stream they lie
_CHUNK: Final = 256  # tokens that llama-imatrix decodes at a time
_RESAMPLES: Final = 4000
_SEED: Final = 20241122  # any; the same input gives the same output
_BASE: Final = "Q4_0"
_SUMS: Final = ".in_sum2"


@dataclass(frozen=True)
class Recipe:
    """A row: its name, `--bits`, and further options of `export`, where VISUAL and TEXT stand for
    the two importance matrices."""

    name: str
    bits: int
    options: tuple[str, ...] = ()


RECIPES: Final = (
    Recipe("Q8_0", 8),
    Recipe(_BASE, 4),
    Recipe("Q4_0, imatrix of text alone", 4, ("--imatrix", "TEXT")),
    Recipe("Q4_0, imatrix", 4, ("--imatrix", "VISUAL")),
    Recipe(
        "Q4_0, imatrix, ffn_down Q5_0", 4, ("--imatrix", "VISUAL", "--override", "ffn_down=Q5_0")
    ),
    Recipe("Q4_K_M", 4, ("--four-bit", "Q4_K_M")),
    Recipe("Q4_K_M, imatrix of text alone", 4, ("--four-bit", "Q4_K_M", "--imatrix", "TEXT")),
    Recipe("Q4_K_M, imatrix", 4, ("--four-bit", "Q4_K_M", "--imatrix", "VISUAL")),
)


@dataclass(frozen=True)
class Interval:
    """Two-sided, 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """`error`: see `product_error`; `mean_kl` in nats; `of_base`: it as a multiple of plain Q4_0's,
    on the same questions; `top_five`: the share of it that five questions have; `top1` and
    `accuracy` in percent."""

    recipe: str
    bytes: int
    error: float
    mean_kl: Interval
    of_base: Interval
    top_five: float
    top1: Interval
    accuracy: Interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="for the checkpoint, bundles and results")
    parser.add_argument("--pictures", type=int, default=128, help="to calibrate on")
    parser.add_argument("--questions", type=int, default=500, help="to evaluate on")
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    asked = parser.parse_args()
    folder: Path = asked.folder.resolve()  # the paths are part of a matrix
    threads = ["--threads", str(asked.threads)] if asked.threads else []
    checkpoint, reference = folder / "checkpoint", folder / "reference"
    imp("demo", checkpoint, "--force")
    _export(checkpoint, reference, "Imp-Demo", 16)
    files = _matrices(reference, folder, asked.pictures, threads)
    inputs = _inputs(reference, folder, asked.pictures, threads)
    measured = {}
    task = ["--task", "demo", "--limit", asked.questions, *threads, "--out", folder / "results"]
    for recipe in RECIPES:
        # Bundles of different names share a folder of results, and so the reference's answers.
        name = re.sub("[^A-Za-z0-9_]+", "-", recipe.name)
        bundle = folder / name
        _export(checkpoint, bundle, name, recipe.bits, *(files.get(o, o) for o in recipe.options))
        (result,) = imp("quality", bundle, "--reference", reference, *task)["results"]
        scored = imp("eval", bundle, "--bits", recipe.bits, *task)
        error = product_error(_llm(reference), _llm(bundle), inputs)
        measured[recipe.name] = (bundle, error, quality.load(Path(result["file"])), scored)
        print(f"{recipe.name}: mean KL {result['summary']['mean_kl']:.3e}", file=sys.stderr)
    base = measured[_BASE][2]
    rows = [_row(name, *found, base) for name, found in measured.items()]
    value = {
        "machine": asdict(describe(folder)),
        "llama_cpp": llama.lock().commit,
        "pictures": asked.pictures,
        "questions": len(base.items),
        "positions": sum(len(item.kl) for item in base.items),
        "rows": [asdict(row) for row in rows],
    }
    write_json_atomic(folder / "four-bits.json", value)
    print(table(rows))


def imp(*arguments: object) -> Any:
    """What the command prints with `--json`; one that fails ends the program."""
    argv = [sys.executable, "-m", "imp_deploy", *map(str, arguments), "--json"]
    done = process.run(argv)
    if done.returncode != 0:
        raise SystemExit(done.evidence())
    return json.loads(done.stdout)


def _export(checkpoint: Path, out: Path, name: str, bits: int, *options: object) -> None:
    # The tower at 16 bits everywhere: this is about the language model.
    sides = ["--resolution", SIDE, "--vision-bits", 16]
    imp("export", checkpoint, out, "--name", name, "--bits", bits, *sides, *options)


def _matrices(reference: Path, folder: Path, count: int, threads: list[str]) -> dict[str, str]:
    """The two importance matrices: of scenes with a fitting question each, by `calibrate`, and of
    the same prompts without the scenes, by llama.cpp's own tool."""
    drawn = [scenes.scene_at("train", _FIRST_SCENE + number) for number in range(count)]
    asked = []
    for number, scene in enumerate(drawn):
        every = scenes.questions(scene)
        asked.append((scene, every[number % len(every)].text))
    visual = _calibrate(reference, folder / "calibration", asked, threads)

    template, text = load(reference).prompt, folder / "text.imatrix.gguf"
    alone = [prompts.fill(template, line).replace(prompts.IMAGE, "") for _, line in asked]
    write_atomic(folder / "text.txt", "\n".join(alone).encode())
    argv = ["-m", _llm(reference), "-f", folder / "text.txt", "-o", text, "-c", _CHUNK, "--no-ppl"]
    argv += ["--threads", *threads[1:]] if threads else []
    done = process.run([str(stock.program("llama-imatrix")), *map(str, argv)])
    if done.returncode != 0:
        raise SystemExit(done.evidence())
    return {"VISUAL": str(visual), "TEXT": str(text)}


def _inputs(reference: Path, folder: Path, count: int, threads: list[str]) -> Path:
    """The sums of the held-out questions themselves: no recipe sees them."""
    held_out = scenes.held_out(count)
    asked = [(scenes.scene_at("test", index), question.text) for index, question in held_out]
    return _calibrate(reference, folder / "evaluation", asked, threads)


def _calibrate(
    reference: Path, place: Path, asked: Sequence[tuple[scenes.Scene, str]], threads: list[str]
) -> Path:
    """What `calibrate` makes of scenes with a question each."""
    images, lines = place / "images", place / "questions.txt"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir(parents=True)
    for number, (scene, _) in enumerate(asked):
        scenes.draw(scene).save(images / f"{number:05}.png")
    write_atomic(lines, ("\n".join(line for _, line in asked) + "\n").encode())
    out = place / "imatrix.gguf"
    imp("calibrate", reference, "--images", images, "--prompts", lines, "--out", out, *threads)
    return out


def _llm(bundle: Path) -> Path:
    return bundle / next(file.path for file in load(bundle).files if file.role == "llm")


def product_error(reference: Path, quantized: Path, inputs: Path) -> float:
    """How far the products of the blocks' matrices are off, as a share of their squares: the mean
    over the matrices W of sum(D^2 a) / sum(W^2 a), where D is what quantizing changed and `a` the
    mean square of each input. `a` is of the importance matrix `inputs`; that different inputs do
    not go together is an assumption, the quantizers' own."""
    before, after = _tensors(reference), _tensors(quantized)
    sums = _tensors(inputs)
    shares = []
    for name in (n.removesuffix(_SUMS) for n in sums if n.endswith(_SUMS)):
        weight = dequantize(before[name].data, before[name].tensor_type)
        change = dequantize(after[name].data, after[name].tensor_type) - weight
        a = sums[name + _SUMS].data  # of all rows together: how many cancels out
        shares.append(float(((change**2) @ a).sum() / ((weight**2) @ a).sum()))
    return sum(shares) / len(shares)


def _tensors(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in GGUFReader(path).tensors}


def _row(
    name: str,
    bundle: Path,
    error: float,
    measured: quality.Quality,
    scored: Any,
    base: quality.Quality,
) -> Row:
    (evaluation,) = scored["evaluations"]
    score = evaluation["score"]
    kl = [item.kl for item in measured.items]
    sums = sorted((sum(row) for row in kl), reverse=True)
    agree = [[100.0 * one for one in item.agree] for item in measured.items]
    return Row(
        recipe=name,
        bytes=_llm(bundle).stat().st_size,
        error=error,
        mean_kl=interval(kl),
        of_base=interval(kl, [item.kl for item in base.items]),
        top_five=sum(sums[:5]) / sum(sums),
        top1=interval(agree),
        accuracy=Interval(score["value"], score["low"], score["high"]),
    )


def interval(
    values: Sequence[Sequence[float]], base: Sequence[Sequence[float]] | None = None
) -> Interval:
    """The mean over all positions, or its ratio to the mean of `base` on the same questions. By the
    percentile bootstrap over questions, whose positions stay together (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13)."""
    random = np.random.Generator(np.random.PCG64(_SEED))
    drawn = random.integers(len(values), size=(_RESAMPLES, len(values)))
    all_once = np.arange(len(values))[None]

    def mean(of: Sequence[Sequence[float]], picks: NDArray[np.int64]) -> NDArray[np.float64]:
        sums = np.array([sum(row) for row in of])
        sizes = np.array([len(row) for row in of])
        found: NDArray[np.float64] = sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
        return found

    def figure(picks: NDArray[np.int64]) -> NDArray[np.float64]:
        return mean(values, picks) / (1.0 if base is None else mean(base, picks))

    low, high = np.percentile(figure(drawn), [2.5, 97.5])
    return Interval(float(figure(all_once)[0]), float(low), float(high))


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| language model | bytes | error of the products | mean KL, nats | of Q4_0's | "
        "in 5 questions | same top token | accuracy |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row.recipe} | {row.bytes:,} | {100 * row.error:.3f} % | "
            f"{_shown(row.mean_kl, '.2e')} | {_shown(row.of_base, '.2f')} | "
            f"{100 * row.top_five:.0f} % | {_shown(row.top1, '.2f')} % | "
            f"{_shown(row.accuracy, '.1f')} % |"
        )
    return "\n".join(lines)


def _shown(found: Interval, form: str) -> str:
    return f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})"


if __name__ == "__main__":
    main()
