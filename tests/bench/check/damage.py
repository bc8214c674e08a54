"""Ways to break a bundle that a build may really take, as if it had been exported so."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
from gguf import GGUFReader, LlamaFileType

from imp_deploy import bundle as bundles
from imp_deploy.files import sha256_of
from tests.small import edit_json

Tensors = dict[str, Any]


def _rehashed(bundle: Path, name: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        for file in manifest["files"]:
            if file["path"] == name:
                file["sha256"] = sha256_of(bundle / name)
                file["bytes"] = (bundle / name).stat().st_size

    edit_json(bundle / bundles.MANIFEST, change)


def _edited(bundle: Path, change: Callable[[Tensors], None]) -> None:
    """Changes the tensors of every tower for 196 pixels: whole rows, whatever their type."""
    for file in bundles.load(bundle).files:
        if file.resolution != 196:
            continue
        reader = GGUFReader(bundle / file.path, "r+")
        change({tensor.name: tensor.data for tensor in reader.tensors})
        reader.data.flush()
        _rehashed(bundle, file.path)


def last_layer_dropped(bundle: Path) -> None:
    """What the last block of the tower adds is nothing, as when the exporter miscounts."""

    def change(tensors: Tensors) -> None:
        blocks = {name.split(".")[2] for name in tensors if name.startswith("v.blk.")}
        last = f"v.blk.{max(blocks, key=int)}."
        found = [n for n in tensors if n.startswith((f"{last}attn_out.", f"{last}ffn_down."))]
        assert len(found) == 4
        for name in found:
            tensors[name][:] = 0

    _edited(bundle, change)


def q_and_k_swapped(bundle: Path) -> None:
    """In every block of the tower, as by a wrong name in the table."""

    def change(tensors: Tensors) -> None:
        for name, q in tensors.items():
            if ".attn_q." in name:
                k = tensors[name.replace("attn_q", "attn_k")]
                q[:], k[:] = k.copy(), q.copy()

    _edited(bundle, change)


def padded(bundle: Path) -> None:
    """Pictures get borders instead of being squashed into a square."""
    edit_json(bundle / bundles.MANIFEST, lambda m: m["preprocess"].update(mode="pad"))


def two_bits(bundle: Path) -> None:
    """The 4-bit language model is one of 2 bits."""
    models = {f.bits: f.path for f in bundles.load(bundle).files if f.role == "llm"}
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = LlamaFileType.MOSTLY_Q2_K
    status = llama_cpp.llama_model_quantize(
        str(bundle / models[16]).encode(),
        str(bundle / models[4]).encode(),
        ctypes.byref(parameters),
    )
    assert status == 0
    _rehashed(bundle, models[4])


def damaged(bundle: Path, place: Path, damage: Callable[[Path], None]) -> Path:
    """A copy of `bundle`, broken by `damage`."""
    shutil.copytree(bundle, place)
    damage(place)
    return place
