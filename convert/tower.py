"""The SigLIP vision tower and the projector: names, shapes, and what the mmproj says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imp_deploy.bundle import Mode
from imp_deploy.convert.families.base import Rule, linear
from imp_deploy.convert.tensor import Tensor
from imp_deploy.errors import BadInput

MEAN = STD = (0.5, 0.5, 0.5)
POSITIONS = "v.position_embd.weight"


@dataclass(frozen=True, kw_only=True)
class Tower:
    """`layers`: stored in the config's sense; `used`: those that run, as `mm_vision_select_layer`
    says. `image_size` in pixels, the checkpoint's own; `grid`: positions per side."""

    hidden: int
    inner: int
    layers: int
    used: int
    heads: int
    image_size: int
    patch: int
    epsilon: float

    @property
    def grid(self) -> int:
        return self.image_size // self.patch

    def visual_tokens(self, resolution: int) -> int:
        return (resolution // self.patch) ** 2


def tower_rules(prefix: str) -> tuple[Rule, ...]:
    """Shapes in terms of `tower_sizes`; `prefix` ends in a dot or is empty."""
    layer, block = prefix + "encoder.layers.{i}.", "v.blk.{i}."
    shapes = {"weight": ("hidden",), "bias": ("hidden",)}
    norms = tuple(
        Rule(source=f"{layer}layer_norm{n}.{p}", target=f"{block}ln{n}.{p}", shape=shape)
        for n in (1, 2)
        for p, shape in shapes.items()
    )
    attention = tuple(
        rule
        for source, target in (
            ("q_proj", "q"),
            ("k_proj", "k"),
            ("v_proj", "v"),
            ("out_proj", "out"),
        )
        for rule in linear(
            f"{layer}self_attn.{source}", f"{block}attn_{target}", "hidden", "hidden", bias=True
        )
    )
    return (
        Rule(
            source=f"{prefix}embeddings.patch_embedding.weight",
            target="v.patch_embd.weight",
            shape=("hidden", "channels", "patch", "patch"),
        ),
        Rule(
            source=f"{prefix}embeddings.patch_embedding.bias",
            target="v.patch_embd.bias",
            shape=("hidden",),
        ),
        Rule(
            source=f"{prefix}embeddings.position_embedding.weight",
            target=POSITIONS,
            shape=("positions", "hidden"),
        ),
        *norms,
        *attention,
        *linear(f"{layer}mlp.fc1", f"{block}ffn_up", "inner", "hidden", bias=True),
        *linear(f"{layer}mlp.fc2", f"{block}ffn_down", "hidden", "inner", bias=True),
    )


def tower_sizes(tower: Tower) -> Mapping[str, int]:
    return {
        "hidden": tower.hidden,
        "inner": tower.inner,
        "channels": 3,
        "patch": tower.patch,
        "positions": tower.grid**2,
    }


def tower_ignored(prefix: str, tower: Tower) -> tuple[str, ...]:
    """Regular expressions of a tower's tensors that Imp does not use: the layers behind the
    selected one, the final norm, the pooling head, and index buffers."""
    start = re.escape(prefix)
    unused = "|".join(str(i) for i in range(tower.used, tower.layers)) or "none"
    return (
        rf"{start}encoder\.layers\.({unused})\..*",
        rf"{start}post_layernorm\..*",
        rf"{start}head\..*",
        rf"{start}embeddings\.position_ids",
    )


# A separate tower is a whole SigLIP: the text half and the similarity scale are not Imp's.
SEPARATE_IGNORED = (r"text_model\..*", r"logit_scale", r"logit_bias")


def projector_rules(prefix: str) -> tuple[Rule, ...]:
    """Shapes in terms of `vision` (the tower's width) and `hidden` (the language model's)."""
    return (
        *linear(f"{prefix}.0", "mm.0", "hidden", "vision", bias=True),
        *linear(f"{prefix}.2", "mm.2", "hidden", "hidden", bias=True),
    )


def mmproj_metadata(tower: Tower, resolution: int, mode: Mode, width: int) -> dict[str, Any]:
    """Keys of the mmproj; `width` is the language model's hidden size.

    Two of them make stock libmtmd compute what Imp computes, and nothing reports it when they are
    missing: without `feature_layer` the last block is skipped, and without the empty pinpoint
    list pictures are padded instead of squashed.
    """
    values: dict[str, Any] = {
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        "clip.vision.image_size": resolution,
        "clip.vision.patch_size": tower.patch,
        "clip.vision.embedding_length": tower.hidden,
        "clip.vision.feed_forward_length": tower.inner,
        "clip.vision.block_count": tower.used,
        "clip.vision.attention.head_count": tower.heads,
        "clip.vision.attention.layer_norm_epsilon": tower.epsilon,
        "clip.vision.projection_dim": width,
        "clip.vision.image_mean": list(MEAN),
        "clip.vision.image_std": list(STD),
        "clip.vision.feature_layer": [tower.used],
    }
    if mode == "squash":
        values["clip.vision.image_grid_pinpoints"] = [0, 0]
    return values


def detect_tower_prefix(tensors: Mapping[str, Tensor], inside: str) -> str | None:
    """Where the tower's tensors begin: `inside` the checkpoint, or in a separate tower's file."""
    for prefix in (f"{inside}.", "vision_model.", ""):
        if f"{prefix}embeddings.patch_embedding.weight" in tensors:
            return prefix
    return None


def check_resolutions(
    tower: Tower, wanted: tuple[int, ...] | None, folder: Path
) -> tuple[int, ...]:
    """The resolutions to export: those asked for, or 384 and 196 as far as the tower has them."""
    if wanted is None:
        smaller = {r for r in (384, 196) if tower.patch <= r < tower.image_size}
        return (tower.image_size, *sorted(smaller, reverse=True))
    for resolution in wanted:
        if not tower.patch <= resolution <= tower.image_size:
            raise BadInput(
                f"{folder} was trained at {tower.image_size} pixels and cannot give resolution "
                f"{resolution}; ask for {tower.patch} to {tower.image_size}."
            )
    return tuple(dict.fromkeys(wanted))
