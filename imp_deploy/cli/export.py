from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imp_deploy import bundle as bundles
from imp_deploy.cli.output import (
    JsonFlag,
    console,
    gib,
    note,
    numbers,
    print_json,
    progress_bar,
    table,
)

if TYPE_CHECKING:
    from imp_deploy.convert.overrides import Override
    from imp_deploy.convert.supported import Listing, SupportedProjector

HELP = (
    "Convert a checkpoint of Imp, MobileVLM or LLaVA-1.5, or a LoRA adapter of one, to GGUF files: "
    "the language model at 16, 8 and 4 bits, and the vision tower with its projector at each "
    "resolution."
)


def command(
    model: Annotated[str | None, typer.Argument(help="Checkpoint folder or hub id.")] = None,
    out: Annotated[Path | None, typer.Argument(help="Folder for the bundle.")] = None,
    bits: Annotated[str, typer.Option(help="Bits of the language model.")] = "16,8,4",
    resolution: Annotated[
        str | None,
        typer.Option(help="Image sides in pixels.", show_default="the checkpoint's, and Imp's 196"),
    ] = None,
    vision_bits: Annotated[
        int | None,
        typer.Option(
            help="Bits of the vision tower.", show_default="16 for --bits 16, 8 for 8 and 4"
        ),
    ] = None,
    four_bit: Annotated[
        str | None,
        typer.Option(
            help="Recipe of the language model at 4 bits: Q4_0, or Q4_K_M, a tenth larger.",
            show_default="Q4_0",
        ),
    ] = None,
    imatrix: Annotated[
        Path | None,
        typer.Option(
            help="Importance matrix for the language model at 4 bits: what `imp-deploy calibrate` "
            "wrote."
        ),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=TYPE",
            help="Type of single tensors of the language model at 4 bits, by a regular expression "
            "for their names (blk.0.attn_qkv=Q8_0); can be repeated, the first that fits counts.",
        ),
    ] = None,
    vision_tower: Annotated[
        str | None, typer.Option(help="Tower's folder or hub id, if the checkpoint has none.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Folder or hub id of what MODEL, a LoRA adapter, was trained on."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the bundle.", show_default="the folder's")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    only_list: Annotated[
        bool, typer.Option("--list", help="Instead of exporting, show what can be exported.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    if only_list:
        if model is not None:
            raise typer.BadParameter("takes no MODEL and no OUT", param_hint="--list")
        _show_supported(as_json=as_json)
        return
    if model is None:
        raise typer.BadParameter("give a checkpoint folder or a hub id", param_hint="MODEL")
    if out is None:
        raise typer.BadParameter("give a folder for the bundle", param_hint="OUT")

    from imp_deploy.convert.export import export
    from imp_deploy.convert.hub import locate
    from imp_deploy.convert.names import check_name
    from imp_deploy.convert.plan import Options

    options = Options(
        bits=numbers(bits, (16, 8, 4), "--bits"),
        resolutions=numbers(resolution, None, "--resolution") if resolution else None,
        vision_bits=(
            None
            if vision_bits is None
            else numbers(str(vision_bits), (16, 8, 4), "--vision-bits")[0]
        ),
        name=check_name(name) if name is not None else None,
        four_bit=_four_bit(four_bit),
        imatrix=imatrix,
        overrides=_overrides(override or []),
    )
    for option, value in (
        ("--four-bit", four_bit),
        ("--imatrix", imatrix),
        ("--override", override),
    ):
        if value and 4 not in options.bits:
            raise typer.BadParameter("is for 4 bits, which --bits leaves out", param_hint=option)
    began = time.monotonic()
    located = locate(model, vision_tower, base)
    with progress_bar() as bar:
        exported = export(
            located.folder,
            out,
            options,
            tower=located.tower,
            base=located.base,
            source_name=located.name,
            force=force,
            progress=bar,
        )
    if as_json:
        changes = {"written": list(exported.written), "kept": list(exported.kept)}
        notes = list(exported.notes)
        print_json({"bundle": bundles.to_json(exported.bundle), **changes, "notes": notes})
        return
    shown = table("file", "bits", "pixels", "tokens", "size", "")
    for file in exported.bundle.files:
        state = "written" if file.path in exported.written else "kept"
        values = dataclasses.asdict(file)
        shown.add_row(
            file.path,
            str(file.bits),
            *(str(values[k] or "") for k in ("resolution", "visual_tokens")),
            gib(file.bytes),
            state,
        )
    console.print(shown)
    for text in exported.notes:
        note(text)
    console.print(f"{out} is ready after {time.monotonic() - began:.1f} s.", highlight=False)


def _four_bit(name: str | None) -> str:
    from imp_deploy.convert.quantization import FOUR_BIT

    chosen = "Q4_0" if name is None else name.upper()
    if chosen not in FOUR_BIT:
        raise typer.BadParameter(
            f"{name!r} is not one of {', '.join(FOUR_BIT)}", param_hint="--four-bit"
        )
    return chosen


def _overrides(texts: list[str]) -> tuple[Override, ...]:
    from imp_deploy.convert.overrides import parse

    try:
        return tuple(parse(text) for text in texts)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--override") from None


def _show_supported(*, as_json: bool) -> None:
    from imp_deploy.convert.supported import listing

    found = listing()
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    shown = table("hub ids", "family", "vision", "tokens", "pictures")
    shown.show_lines = True
    for family in found.families:
        projectors = family.projectors
        shown.add_row(
            "\n".join(family.hub_ids),
            family.family,
            "\n".join((family.tower, *(p.name for p in projectors))),
            "\n".join(dict.fromkeys(line for p in projectors for line in _tokens(p))),
            "\n".join(dict.fromkeys(family.pictures.values())),
        )
    console.print(shown)
    for text in (_sides(found), _adapters(found), _verified(found)):
        console.print(text, highlight=False)


def _tokens(projector: SupportedProjector) -> list[str]:
    return [f"{r.visual_tokens} @{r.pixels}" for r in projector.resolutions]


def _sides(found: Listing) -> str:
    fixed = [f.family for f in found.families if not any(p.other_resolutions for p in f.projectors)]
    return (
        "Tokens: visual tokens at so many pixels a side. --resolution takes smaller sides than the "
        f"checkpoint's too, except those of {', '.join(fixed)}. Pictures: squash ignores the "
        "aspect ratio, pad fills up to a square; a checkpoint has one of them (image_aspect_ratio)."
    )


def _adapters(found: Listing) -> str:
    bases = "; ".join(f"{f.family}: {', '.join(f.adapter_bases)}" for f in found.families)
    return (
        "LoRA adapters: MODEL is the adapter's folder, and --base a whole checkpoint of the family "
        f"or its language model alone, by its model_type in config.json ({bases})."
    )


def _verified(found: Listing) -> str:
    how = found.method
    weights = "published weights too" if how.published_weights else "not the published weights"
    lines = [
        f"Verified: {how.checkpoints} checkpoints, {weights}, at {how.bits} bits against "
        f"{how.reference}: cosine of every visual token at least {how.worst_cosine}, greedy tokens "
        f"{how.greedy_tokens}; LoRA adapters {how.adapters} ({', '.join(how.tests)}). Each of "
        "these at least once:",
        *(f"{f.family}: {', '.join(f.verified)}." for f in found.families),
    ]
    return "\n".join(lines)
