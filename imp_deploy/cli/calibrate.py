from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imp_deploy.cli.output import (
    JsonFlag,
    console,
    note,
    print_json,
    progress_bars,
)

if TYPE_CHECKING:
    from imp_deploy.bench.calibrate.calibrate import Calibrated

HELP = (
    "Collect an importance matrix for the 4-bit types, on pictures and questions like those that "
    "the model will meet; `export --imatrix` and llama.cpp's `llama-quantize --imatrix` take it. "
    "On this machine; a 3B model takes some ten seconds per picture."
)


def command(
    bundle: Annotated[Path, typer.Argument(help="The folder that `export` wrote.")],
    images: Annotated[Path, typer.Option(help="A folder of pictures, not those of a benchmark.")],
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="A text file with a question on each line.", show_default="eight of ours"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file.", show_default="BUNDLE/NAME.imatrix.gguf")
    ] = None,
    bits: Annotated[int | None, typer.Option(show_default="the most in the bundle")] = None,
    resolution: Annotated[int | None, typer.Option(show_default="196, or the nearest")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 32,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use so many of the pictures.", show_default="all"),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="0: all of the machine's.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy import bundle as bundles
    from imp_deploy.bench.calibrate.calibrate import Settings, calibrate, default_path, plan

    loaded = bundles.load(bundle)
    settings = Settings(
        images=images,
        prompts=prompts,
        limit=limit,
        bits=bits,
        resolution=resolution,
        max_tokens=max_tokens,
        threads=threads,
    )
    with progress_bars() as bars:
        made = plan(bundle, loaded, settings, bars.bar("steps"))
        done = calibrate(
            made, out or default_path(bundle, loaded), force=force, shown=bars.bar("steps")
        )
    if as_json:
        print_json(to_json(done))
    else:
        _print(done)


def to_json(done: Calibrated) -> dict[str, Any]:
    return {
        "file": str(done.path),
        "kept": done.kept,
        "variant": {
            "bits": done.variant.llm.bits,
            "resolution": done.variant.vision.resolution,
            "vision_bits": done.variant.vision.bits,
        },
        "pictures": done.pictures,
        "questions": done.about.questions,
        "tokens": done.about.rows,
        "visual_tokens": done.visual,
        "matrices": done.about.matrices,
        "datasets": list(done.about.datasets),
    }


def _print(done: Calibrated) -> None:
    about = done.about
    share = 100 * done.visual / about.rows
    console.print(
        f"{done.path}: {about.matrices} matrices, {about.rows} tokens of {about.questions} "
        f"questions about {done.pictures} pictures, {share:.0f} % of them visual.",
        highlight=False,
        soft_wrap=True,
    )
    if done.kept:
        note("It was collected before, from the same files; --force collects it again.")
    else:
        note(f"Use it with `imp-deploy export MODEL OUT --bits 4 --imatrix {done.path}`.")
