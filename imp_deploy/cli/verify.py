from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from imp_deploy import bundle as bundles
from imp_deploy.cli.output import JsonFlag, console, numbers, print_json, stderr, table
from imp_deploy.errors import CheckFailed

HELP = "Compare a bundle with the PyTorch fp32 reference of its checkpoint."


def command(
    bundle: Annotated[Path, typer.Argument(help="The folder that `export` wrote.")],
    reference: Annotated[str, typer.Option(help="The checkpoint: folder or hub id.")],
    image: Annotated[list[Path] | None, typer.Option(help="A picture; may be given again.")] = None,
    vision_tower: Annotated[
        str | None, typer.Option(help="Tower's folder or hub id, if the checkpoint has none.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Folder or hub id of what a LoRA adapter was trained on.")
    ] = None,
    bits: Annotated[str | None, typer.Option(show_default="all in the bundle")] = None,
    resolution: Annotated[str | None, typer.Option(show_default="all in the bundle")] = None,
    prompt: Annotated[str, typer.Option(help="The question.")] = "What is in the picture?",
    max_tokens: Annotated[int, typer.Option(min=1, help="Greedy tokens to compare.")] = 16,
    min_cosine: Annotated[
        float | None,
        typer.Option(help="Worst cosine allowed.", show_default="0.9999 for 16-bit towers"),
    ] = None,
    max_logit_difference: Annotated[float | None, typer.Option(show_default="none")] = None,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.convert.hub import locate
    from imp_deploy.convert.verify import Bounds, failures, verify

    loaded = bundles.load(bundle)
    bounds = Bounds(min_cosine=min_cosine, max_logit_difference=max_logit_difference)
    with stderr.status("comparing with PyTorch ..."):
        rows = verify(
            bundle,
            loaded,
            locate(reference, vision_tower, base),
            image or [],
            question=prompt,
            max_tokens=max_tokens,
            bits=numbers(bits, (16, 8, 4), "--bits") if bits else None,
            resolutions=numbers(resolution, None, "--resolution") if resolution else None,
        )
    failed = failures(rows, bounds)
    if as_json:
        values = [{**dataclasses.asdict(r), "tokens_agree": r.tokens_agree} for r in rows]
        print_json({"passed": not failed, "failures": failed, "rows": values})
    else:
        shown = table("image", "variant", "worst cosine", "mean cosine", "logits ±", "tokens equal")
        for row in rows:
            variant = f"{row.bits} @{row.resolution}"
            if row.vision_bits != 16:
                variant += f" v{row.vision_bits}"
            tokens = f"{row.tokens_equal} of {row.tokens}"
            exact = row.bits == row.vision_bits == 16
            if exact and row.tokens_equal < row.tokens and row.tokens_agree:
                tokens += "\n(tie)"
            shown.add_row(
                f"{row.image}\n{row.size[0]}x{row.size[1]}",
                variant,
                f"{row.worst_cosine:.7f}",
                f"{row.mean_cosine:.7f}",
                f"{row.max_logit_difference:.3f}",
                tokens,
            )
        console.print(shown)
    if failed:
        more = f" ({len(failed) - 1} more)" if len(failed) > 1 else ""
        raise CheckFailed(f"Parity is lost: {failed[0]}{more}")
