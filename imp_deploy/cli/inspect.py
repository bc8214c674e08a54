from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from imp_deploy import bundle as bundles
from imp_deploy.cli.output import JsonFlag, console, gib, print_json, table

HELP = "Show what is in a GGUF file or a bundle."


def command(
    path: Annotated[Path, typer.Argument(help="A GGUF file or a bundle's folder.")],
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.convert.inspect import read_gguf
    from imp_deploy.errors import BadInput

    if path.is_dir():
        bundle = bundles.load(path)
        if as_json:
            print_json(bundles.to_json(bundle))
        else:
            _print_bundle(bundle)
        return
    if not path.is_file():
        raise BadInput(f"{path} does not exist; give a GGUF file or a bundle's folder.")
    info = read_gguf(path)
    if as_json:
        value: dict[str, Any] = dataclasses.asdict(info)
        print_json({**value, "types": info.types, "parameters": info.parameters})
        return
    shown = table("key", title=f"{path.name}, {gib(info.bytes)}")
    shown.add_column("value", overflow="fold")
    for key, entry in info.metadata.items():
        shown.add_row(key, _short(str(entry)))
    console.print(shown)
    shown = table("tensor", "type", "shape", "size")
    for tensor in info.tensors:
        shape = " x ".join(map(str, tensor.shape))
        shown.add_row(tensor.name, tensor.type, shape, gib(tensor.bytes))
    console.print(shown)
    parts = ", ".join(f"{kind} {gib(size)}" for kind, size in info.types.items())
    console.print(
        f"{len(info.tensors)} tensors, {info.parameters / 1e6:.1f} M parameters: {parts}.",
        highlight=False,
    )


def _short(text: str) -> str:
    one_line = text.replace("\n", "\\n")
    return one_line if len(one_line) <= 100 else one_line[:97] + "..."


def _origin(source: bundles.Source) -> str:
    base = f" on {source.base}" if source.base else ""
    return f"{source.model}{base} ({source.family})"


def _print_bundle(bundle: bundles.Bundle) -> None:
    shown = table("file", "bits", "pixels", "tokens", "size", title=bundle.name)
    for file in bundle.files:
        pixels = str(file.resolution or "")
        if file.resized_from:
            pixels += f" (from {file.resized_from})"
        tokens = str(file.visual_tokens or "")
        shown.add_row(file.path, str(file.bits), pixels, tokens, gib(file.bytes))
    console.print(shown)
    for file in bundle.files:
        if file.imatrix_sha256 is not None:
            _print_line(f"importance matrix of {file.path}", file.imatrix_sha256)
        if file.overrides:
            _print_line(f"overrides in {file.path}", ", ".join(file.overrides))
    stock = "yes" if bundle.preprocess.stock_exact else "no, only imp-deploy's runner is"
    rows = (
        ("made from", _origin(bundle.source)),
        ("weights", bundle.source.weights_sha256),
        ("llama.cpp", f"{bundle.llama_cpp.commit} (llama-cpp-python {bundle.llama_cpp.package})"),
        ("prompt", bundle.prompt.template.replace("\n", "\\n")),
        ("ends at", ", ".join(bundle.prompt.stop)),
        ("preprocessing", f"{bundle.preprocess.mode}; exact in stock llama.cpp: {stock}"),
    )
    for key, value in rows:
        _print_line(key, value)


def _print_line(key: str, value: str) -> None:
    line = Text.assemble((key, "bold"), ": ", value)
    console.print(line, highlight=False, soft_wrap=True)
