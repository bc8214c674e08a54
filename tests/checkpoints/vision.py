"""The weights of the vision towers, and the folders of towers that stand alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.checkpoints.stored import write_json, write_weights
from tests.checkpoints.values import (
    TORCH_DTYPE,
    Dtype,
    Family,
    Naming,
    Random,
    Sizes,
    Weights,
    is_clip,
)

if TYPE_CHECKING:
    from torch import Tensor

    from tests.checkpoints.values import State

PROJECTION = 24  # width of CLIP's space of pictures and texts, which no family uses
TEXT_TOKENS = 77


def tower(family: Family, sizes: Sizes, image_size: int, rng: Random) -> State:
    """A whole vision model, all layers and what stands behind them, without a prefix."""
    if is_clip(family):
        return dict(_clip(sizes, image_size, rng.fork("clip")))
    return dict(_siglip(sizes, image_size, rng.fork("vision")))


def is_kept(name: str, naming: Naming, sizes: Sizes) -> bool:
    """Whether a checkpoint with the used part of the tower holds `name`."""
    if name.startswith("post_layernorm."):
        return naming == "train"
    last = f"encoder.layers.{sizes.vision_layers - 1}."
    return not name.startswith(("head.", last))


def position_ids(sizes: Sizes, image_size: int) -> State:
    """The index of CLIP's position table, which old versions of transformers stored."""
    import torch

    rows = (image_size // sizes.patch) ** 2 + 1
    return {"embeddings.position_ids": torch.arange(rows)[None]}


def vision_config(sizes: Sizes, image_size: int) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": sizes.vision_hidden,
        "intermediate_size": sizes.vision_inner,
        "num_hidden_layers": sizes.vision_layers,
        "num_attention_heads": sizes.vision_heads,
        "image_size": image_size,
        "patch_size": sizes.patch,
        "layer_norm_eps": 1e-6,
    }


def clip_config(sizes: Sizes, image_size: int) -> dict[str, Any]:
    return vision_config(sizes, image_size) | {
        "model_type": "clip_vision_model",
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "num_channels": 3,
        "projection_dim": PROJECTION,
    }


def tower_config(family: Family, sizes: Sizes, image_size: int) -> dict[str, Any]:
    return (clip_config if is_clip(family) else vision_config)(sizes, image_size)


def write_tower(
    out: Path,
    family: Family,
    vision: State,
    sizes: Sizes,
    image_size: int,
    rng: Random,
    weights: Weights,
    dtype: Dtype,
) -> None:
    """A whole SigLIP or CLIP checkpoint: the vision model beside a text model of no use here."""
    out.mkdir(parents=True, exist_ok=True)
    state = {f"vision_model.{k}": v for k, v in vision.items()}
    if is_clip(family):
        buffers = position_ids(sizes, image_size)
        state = (
            _clip_rest(sizes, rng) | state | {f"vision_model.{k}": v for k, v in buffers.items()}
        )
        config: dict[str, Any] = {
            "model_type": "clip",
            "architectures": ["CLIPModel"],
            "projection_dim": PROJECTION,
            "logit_scale_init_value": 2.6592,
            "text_config": {
                "model_type": "clip_text_model",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "vocab_size": 96,
                "max_position_embeddings": TEXT_TOKENS,
                "projection_dim": PROJECTION,
                "bos_token_id": 94,
                "eos_token_id": 95,
            },
            "vision_config": clip_config(sizes, image_size),
        }
    else:
        state = _siglip_rest(rng) | state
        config = {
            "model_type": "siglip",
            "architectures": ["SiglipModel"],
            "text_config": {"model_type": "siglip_text_model", "hidden_size": 32, "vocab_size": 96},
            "vision_config": vision_config(sizes, image_size),
        }
    write_json(out / "config.json", config | {"torch_dtype": TORCH_DTYPE[dtype]})
    write_weights(out, state, weights, 1, dtype)


def _siglip(sizes: Sizes, image_size: int, rng: Random) -> Iterator[tuple[str, Tensor]]:
    hidden, inner, patch = sizes.vision_hidden, sizes.vision_inner, sizes.patch
    conv = "embeddings.patch_embedding"
    yield f"{conv}.weight", _patches(conv, sizes, rng)
    yield f"{conv}.bias", rng.normal(f"{conv}.bias", hidden, std=0.2)
    table = "embeddings.position_embedding.weight"
    yield table, rng.normal(table, (image_size // patch) ** 2, hidden, std=0.5)
    yield from _layers(hidden, inner, sizes.vision_layers, rng)
    yield from rng.norm("post_layernorm", hidden, bias=True)
    yield "head.probe", rng.normal("head.probe", 1, 1, hidden)
    for part in ("weight", "bias"):
        name = f"head.attention.in_proj_{part}"
        shape = (3 * hidden, hidden) if part == "weight" else (3 * hidden,)
        yield name, rng.normal(name, *shape, std=0.1)
    yield from rng.linear("head.attention.out_proj", hidden, hidden)
    yield from rng.norm("head.layernorm", hidden, bias=True)
    yield from rng.linear("head.mlp.fc1", inner, hidden)
    yield from rng.linear("head.mlp.fc2", hidden, inner)


def _clip(sizes: Sizes, image_size: int, rng: Random) -> Iterator[tuple[str, Tensor]]:
    """The class token has the first position row; `pre_layrnorm` is CLIP's own spelling."""
    hidden = sizes.vision_hidden
    yield "embeddings.class_embedding", rng.normal("class", hidden)
    conv = "embeddings.patch_embedding"
    yield f"{conv}.weight", _patches(conv, sizes, rng)
    table = "embeddings.position_embedding.weight"
    yield table, rng.normal(table, (image_size // sizes.patch) ** 2 + 1, hidden, std=0.5)
    yield from rng.norm("pre_layrnorm", hidden, bias=True)
    yield from _layers(hidden, sizes.vision_inner, sizes.vision_layers, rng)
    yield from rng.norm("post_layernorm", hidden, bias=True)


def _patches(name: str, sizes: Sizes, rng: Random) -> Tensor:
    fan = 3 * sizes.patch * sizes.patch
    shape = (sizes.vision_hidden, 3, sizes.patch, sizes.patch)
    return rng.normal(name, *shape, std=3.0 / math.sqrt(fan))


def _layers(hidden: int, inner: int, layers: int, rng: Random) -> Iterator[tuple[str, Tensor]]:
    for i in range(layers):
        layer = f"encoder.layers.{i}"
        for norm in ("layer_norm1", "layer_norm2"):
            yield from rng.norm(f"{layer}.{norm}", hidden, bias=True)
        for part in ("q", "k", "v", "out"):
            yield from rng.linear(f"{layer}.self_attn.{part}_proj", hidden, hidden, gain=1.5)
        yield from rng.linear(f"{layer}.mlp.fc1", inner, hidden, gain=1.5)
        yield from rng.linear(f"{layer}.mlp.fc2", hidden, inner, gain=1.5)


def _siglip_rest(rng: Random) -> State:
    return {
        "text_model.embeddings.token_embedding.weight": rng.normal("tokens", 96, 32),
        "text_model.embeddings.position_embedding.weight": rng.normal("positions", 64, 32),
        "text_model.final_layer_norm.weight": rng.normal("norm", 32),
        "text_model.final_layer_norm.bias": rng.normal("norm.bias", 32),
        "text_model.head.weight": rng.normal("head", 32, 32),
        "text_model.head.bias": rng.normal("head.bias", 32),
        "logit_scale": rng.normal("scale", 1),
        "logit_bias": rng.normal("bias", 1),
    }


def _clip_rest(sizes: Sizes, rng: Random) -> State:
    """What a CLIPModel holds beside its vision model; `position_ids` as in the published files."""
    import torch

    room = "text_model.embeddings"
    text = {f"text_model.{k}": v for k, v in _layers(32, 48, 1, rng.fork("text"))}
    return {
        "logit_scale": rng.normal("scale", 1)[0],
        f"{room}.token_embedding.weight": rng.normal("tokens", 96, 32),
        f"{room}.position_embedding.weight": rng.normal("positions", TEXT_TOKENS, 32),
        f"{room}.position_ids": torch.arange(TEXT_TOKENS)[None],
        **text,
        "text_model.final_layer_norm.weight": rng.normal("norm", 32),
        "text_model.final_layer_norm.bias": rng.normal("norm.bias", 32),
        "text_projection.weight": rng.normal("text_projection", PROJECTION, 32),
        "visual_projection.weight": rng.normal("projection", PROJECTION, sizes.vision_hidden),
    }
