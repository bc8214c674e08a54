"""What the tensors of one model are called in each layout."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.checkpoints.values import Naming

if TYPE_CHECKING:
    from tests.checkpoints.values import State

# LLaVA in transformers: `model.`, `lm_head.`, the tower and the projector of the training naming.
# `hf` is the hub's files. `hf5` is what the modules of transformers 5.23 are called, and
# `hf5-saved` what its save_pretrained makes of that; `hf4` is `hf5` as it was in 4.52.
HF: dict[Naming, tuple[str, str, str, str]] = {
    "hf": (
        "language_model.model",
        "language_model.lm_head",
        "vision_tower.vision_model",
        "multi_modal_projector",
    ),
    "hf4": (
        "model.language_model",
        "lm_head",
        "model.vision_tower.vision_model",
        "model.multi_modal_projector",
    ),
    "hf5": (
        "model.language_model",
        "lm_head",
        "model.vision_tower",
        "model.multi_modal_projector",
    ),
    "hf5-saved": (
        "language_model.model",
        "language_model.lm_head",
        "vision_tower",
        "multi_modal_projector",
    ),
}
# Hub naming -> training naming; `mixer.Wqkv` is split by hand.
_HUB = (
    (r"transformer\.embd\.wte\.", "model.embed_tokens."),
    (r"transformer\.h\.(\d+)\.ln\.", r"model.layers.\1.input_layernorm."),
    (r"transformer\.h\.(\d+)\.mixer\.out_proj\.", r"model.layers.\1.self_attn.dense."),
    (r"transformer\.h\.(\d+)\.mlp\.", r"model.layers.\1.mlp."),
    (r"lm_head\.ln\.", "model.final_layernorm."),
    (r"lm_head\.linear\.", "lm_head."),
)


def named(naming: Naming, language: State, projector: State, tower: State) -> State:
    """One model of `language` in the training naming, `projector` behind `mm_projector.` and
    `tower` behind `vision_model.`; the last two may be empty."""
    if naming in HF:
        model, head, vision, pair = HF[naming]
        state = {_hf_language(k, model, head): v for k, v in language.items()}
        linear = {"0": "linear_1", "2": "linear_2"}
        parts = ((k.partition("."), v) for k, v in projector.items())
        state |= {f"{pair}.{linear[number]}.{kind}": v for (number, _, kind), v in parts}
        return state | {f"{vision}.{k}": v for k, v in tower.items()}
    room = "transformer" if naming == "hub" else "model"
    state = hub_names(language) if naming == "hub" else dict(language)
    state |= {f"{room}.mm_projector.{k}": v for k, v in projector.items()}
    prefix = f"{room}.vision_tower.vision_tower.vision_model"
    return state | {f"{prefix}.{k}": v for k, v in tower.items()}


def language_of(state: State) -> State:
    """The language model of a checkpoint in any naming, in the training naming."""
    for model, head, _, _ in HF.values():
        if f"{model}.embed_tokens.weight" in state:
            return {
                name.replace(model, "model", 1).replace(head, "lm_head", 1): tensor
                for name, tensor in state.items()
                if name.startswith((f"{model}.", f"{head}."))
            }
    language: State = {}
    for name, tensor in state.items():
        if ".mm_projector." in name or ".vision_tower." in name:
            continue
        if ".mixer.Wqkv." in name:
            block = name.replace("transformer.h", "model.layers").split(".mixer")[0]
            parts = zip("qkv", tensor.chunk(3), strict=True)
            kind = name.rpartition(".")[2]
            language |= {f"{block}.self_attn.{part}_proj.{kind}": rows for part, rows in parts}
            continue
        for pattern, replacement in _HUB:
            name = re.sub(f"^{pattern}", replacement, name)
        language[name] = tensor
    return language


def hub_names(language: State) -> State:
    """Phi-2 in the hub naming: Q, K and V in one `Wqkv`, the last norm inside `lm_head`."""
    import torch

    named: State = {}
    for name, tensor in language.items():
        parts = name.split(".")
        kind = parts[-1]
        if name == "model.embed_tokens.weight":
            named["transformer.embd.wte.weight"] = tensor
        elif name.startswith("model.final_layernorm."):
            named[f"lm_head.ln.{kind}"] = tensor
        elif name.startswith("lm_head."):
            named[f"lm_head.linear.{kind}"] = tensor
        else:
            block = f"transformer.h.{parts[2]}"
            if parts[3] == "input_layernorm":
                named[f"{block}.ln.{kind}"] = tensor
            elif parts[3] == "mlp":
                named[f"{block}.mlp.{parts[4]}.{kind}"] = tensor
            elif parts[4] == "dense":
                named[f"{block}.mixer.out_proj.{kind}"] = tensor
            elif parts[4] == "q_proj":
                rest = [language[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
                named[f"{block}.mixer.Wqkv.{kind}"] = torch.cat(rest)
    return named


def _hf_language(name: str, model: str, head: str) -> str:
    if name.startswith("lm_head."):
        return name.replace("lm_head", head, 1)
    return name.replace("model", model, 1)
