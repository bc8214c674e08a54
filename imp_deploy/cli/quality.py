from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imp_deploy.cli.output import (
    JsonFlag,
    console,
    note,
    numbers,
    print_json,
    progress_bars,
    stderr,
    table,
    variant_name,
)
from imp_deploy.quality import Quality, metrics

if TYPE_CHECKING:
    from imp_deploy.bench.quality.measure import Measured

HELP = (
    "Compare a bundle's variants with its 16-bit one on a benchmark's questions, without labels: "
    "next-token distributions along the reference's own answers, and visual embeddings. On this "
    "machine; an interrupted comparison goes on when the same command is given again."
)


def command(
    bundle: Annotated[Path, typer.Argument(help="The folder that `export` wrote.")],
    task: Annotated[str, typer.Option(help="Whose questions: demo, folder, or a benchmark.")],
    data: Annotated[
        Path | None, typer.Option(help="The benchmark's files, or pictures and prompts.")
    ] = None,
    split: Annotated[str | None, typer.Option(show_default="the one that is there")] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Ask a stratified sample of so many questions.", show_default="all"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that sample.")] = 0,
    bits: Annotated[str | None, typer.Option(show_default="all in the bundle")] = None,
    resolution: Annotated[str | None, typer.Option(show_default="all in the bundle")] = None,
    vision_bits: Annotated[
        str | None, typer.Option(show_default="16 with --bits 16, 8 with 8 and 4, or the nearest")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer of the reference.")] = 32,
    threads: Annotated[int, typer.Option(min=0, help="0: all of the machine's.")] = 0,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="A bundle whose 16-bit variants to compare with, such as the last release.",
            show_default="BUNDLE itself",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the results, and for the reference's answers.")
    ] = Path("quality-results"),
    force: Annotated[bool, typer.Option("--force", help="Compare anew.")] = False,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.bench.evaluate.selection import select
    from imp_deploy.bench.quality.measure import Settings, measure
    from imp_deploy.bench.quality.pairs import pairs
    from imp_deploy.bench.tasks.table import task as task_of

    asked_bits = numbers(bits, (16, 8, 4), "--bits") if bits else None
    asked_vision = numbers(vision_bits, (16, 8, 4), "--vision-bits") if vision_bits else None
    resolutions = numbers(resolution, None, "--resolution") if resolution else None
    with stderr.status("checking the bundle and the questions ..."):
        found = pairs(
            bundle,
            reference=reference,
            bits=asked_bits,
            resolutions=resolutions,
            vision_bits=asked_vision,
        )
        selection = select(task_of(task), data, split=split, limit=limit, seed=seed)
    settings = Settings(max_tokens=max_tokens, threads=threads)
    with progress_bars() as bars:
        measured = measure(
            selection, found, settings, out=out, force=force, shown=lambda: bars.bar("steps")
        )
    if as_json:
        print_json({"results": [_json(entry) for entry in measured]})
    else:
        _print(measured)


def _json(entry: Measured) -> dict[str, Any]:
    result = entry.result
    return {
        "file": str(entry.path),
        "variant": dataclasses.asdict(result.variant),
        "reference": {
            "bundle": result.reference_bundle.name,
            **dataclasses.asdict(result.reference),
        },
        "kept": entry.kept,
        "questions": len(result.items),
        "positions": _positions(result),
        "dropped_mass": result.dropped_mass,
        "summary": metrics(result.items),
    }


def _positions(result: Quality) -> int:
    return sum(len(item.kl) for item in result.items)


def _print(measured: tuple[Measured, ...]) -> None:
    first = measured[0].result
    shown = table(
        *("variant", "mean KL", "p99 KL", "top-1", "ppl", "worst cos", "mean cos"),
        title=(
            f"{first.bundle.name} on {first.task.title}: {len(first.items)} questions, "
            f"against {first.reference_bundle.name}, 16 bits"
        ),
    )
    for entry in measured:
        shown.add_row(*_row(entry.result))
    console.print(shown)
    known = [entry for entry in measured if entry.kept]
    if known:
        note(f"{len(known)} of {len(measured)} were compared before; --force compares them again.")
    note(
        "KL divergence in nats over all positions of the reference's answers; top-1: the same most "
        "likely token; ppl: perplexity as a multiple of the reference's. Every position is in "
        f"{measured[0].path.parent}, and so are the reference's answers, for further variants; the "
        "folders `reference-*` may be removed."
    )


def _row(result: Quality) -> tuple[str, ...]:
    figures = metrics(result.items)
    return (
        variant_name(result.variant),
        f"{figures['mean_kl']:.1e}",
        f"{figures['p99_kl']:.1e}",
        f"{100 * figures['top1_agreement']:.2f} %",
        f"{figures['perplexity_ratio']:.4f}",
        f"{figures['worst_cosine']:.6f}",
        f"{figures['mean_cosine']:.6f}",
    )
