"""Tensor names of all layouts, brought to one naming: transformers' for the language model and the
tower, the training code's for the projector."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from imp_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

Part = Literal["language", "projector", "tower"]
Widths = tuple[int, int, int]  # rows of Q, K and V

# An older naming -> transformers' own; `mixer.Wqkv` is split by hand.
_LANGUAGE = (
    # The old Phi.
    (r"transformer\.embd\.wte\.", "model.embed_tokens."),
    (r"transformer\.h\.(\d+)\.ln\.", r"model.layers.\1.input_layernorm."),
    (r"transformer\.h\.(\d+)\.mixer\.out_proj\.", r"model.layers.\1.self_attn.dense."),
    (r"transformer\.h\.(\d+)\.mixer\.", r"model.layers.\1.self_attn."),
    (r"transformer\.h\.(\d+)\.mlp\.", r"model.layers.\1.mlp."),
    (r"lm_head\.ln\.", "model.final_layernorm."),
    (r"lm_head\.linear\.", "lm_head."),
    # llava-hf: the hub's files, and transformers 5's modules.
    (r"language_model\.model\.", "model."),
    (r"language_model\.lm_head\.", "lm_head."),
    (r"model\.language_model\.", "model."),
)
_ROOM = r"(?:(?:model|transformer)\.)?"
# transformers 5 leaves `vision_model.` out of a CLIP tower's names.
_TOWER = re.compile(rf"{_ROOM}vision_tower\.(?:vision_tower\.)?(?:vision_model\.)?|vision_model\.")
_PROJECTOR = re.compile(rf"{_ROOM}mm_projector\.")
_HF_PROJECTOR = re.compile(rf"{_ROOM}multi_modal_projector\.linear_([12])\.")
_HF_LINEAR = {"1": "0.", "2": "2."}
# Constants that old versions stored.
_UNUSED = re.compile(r".*rotary_emb\.inv_freq$|.*\.self_attn\.inner_(cross_)?attn\.")


def split_parts(weights: State, widths: Widths, where: str) -> dict[Part, State]:
    """The checkpoint by its parts. A tensor that two names bring to one place is `BadInput`."""
    parts: dict[Part, State] = {"language": {}, "projector": {}, "tower": {}}
    for name, tensor in weights.items():
        for part, place, piece in places(name, tensor, widths, where):
            if place in parts[part]:
                raise BadInput(
                    f"{where} holds {place} twice, the second time as {name}; download it again."
                )
            if part != "language" or not _UNUSED.match(place):
                parts[part][place] = piece
    return parts


def places(
    name: str, tensor: Tensor, widths: Widths, where: str
) -> Iterator[tuple[Part, str, Tensor]]:
    """Where the rows of one tensor belong: three places for a fused `Wqkv`, one for all others.

    Only the rows [rows, ...] are looked at, so that a LoRA's B [rows, rank] goes where the weight
    goes that it changes.
    """
    import torch

    if match := _HF_PROJECTOR.match(name):
        yield "projector", _HF_LINEAR[match[1]] + name[match.end() :], tensor
    elif match := _PROJECTOR.match(name):
        yield "projector", name[match.end() :], tensor
    elif match := _TOWER.match(name):
        yield "tower", name[match.end() :], tensor
    else:
        for pattern, replacement in _LANGUAGE:
            renamed = re.sub(f"^{pattern}", replacement, name)
            if renamed != name:
                name = renamed
                break
        if ".self_attn.Wqkv." not in name:
            yield "language", name, tensor
        elif tensor.shape[0] != sum(widths):
            raise BadInput(
                f"{where}: {name} has {tensor.shape[0]} rows, not {sum(widths)}; check that "
                "config.json belongs to the weights."
            )
        else:
            for letter, piece in zip("qkv", torch.split(tensor, list(widths)), strict=True):
                yield "language", name.replace("Wqkv", f"{letter}_proj"), piece
