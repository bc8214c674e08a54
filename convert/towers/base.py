"""What a vision tower is to the converter: data, and the sizes of one checkpoint's tower."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imp_deploy.convert.rules import Rule, linear, norm
from imp_deploy.convert.tensor import Tensor

POSITIONS = "v.position_embd.weight"
# A whole block of Q8_0 and Q4_0, and what an F16 row is best a multiple of.
_SPARE = 32


@dataclass(frozen=True, kw_only=True)
class TowerKind:
    """A family of vision towers.

    `model_types`: what configurations call it, alone and with its text half. `example`: the hub id
    of the tower that the published checkpoints name; `published`: its configuration, for
    checkpoints that only name it. `class_token`: one stands before the patches, with the first row
    of the position table. `rules`: `{p}` stands for the prefix. `unused`: regular expressions of a
    tower's other tensors; `unused_apart`: of what a tower's own checkpoint has beside the tower.
    `mean` and `std` per channel, of pixels in 0..1.
    """

    name: str
    model_types: tuple[str, ...]
    example: str
    published: Mapping[str, Any]
    activation: str
    class_token: bool
    rules: tuple[Rule, ...]
    unused: tuple[str, ...]
    unused_apart: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Tower:
    """`layers`: stored in the config's sense; `used`: those that run, as `mm_vision_select_layer`
    says. `image_size` in pixels, the checkpoint's own; `grid`: positions per side."""

    kind: TowerKind
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

    def positions(self, resolution: int) -> int:
        """Rows of the position table."""
        return (resolution // self.patch) ** 2 + self.kind.class_token

    def stored_inner(self, block: int) -> int:
        """The FFN's width in a file whose rows are blocks of so many elements: the next multiple.

        What is added are zeros: rows of fc1 and of its bias, columns of fc2. Both activations are
        0 at 0, so the output stays what it is. The width is never that of the tower itself, because
        libmtmd would take fc2 for fc1 then (`is_ffn_swapped` in its clip.cpp).
        """
        width = -(-self.inner // block) * block
        return width if width != self.hidden else width + max(block, _SPARE)

    @property
    def sizes(self) -> Mapping[str, int]:
        return {
            "hidden": self.hidden,
            "inner": self.inner,
            "patch": self.patch,
            "positions": self.positions(self.image_size),
        }


def transformer_rules(*, patch_bias: bool) -> tuple[Rule, ...]:
    """What SigLIP and CLIP share: patches, positions, and the layers. `{p}` is the prefix."""
    layer, block, embeddings = "{p}encoder.layers.{i}.", "v.blk.{i}.", "{p}embeddings."
    patch = Rule(
        source=f"{embeddings}patch_embedding.weight",
        target="v.patch_embd.weight",
        shape=("hidden", "3", "patch", "patch"),
    )
    bias = Rule(
        source=f"{embeddings}patch_embedding.bias", target="v.patch_embd.bias", shape=("hidden",)
    )
    positions = Rule(
        source=f"{embeddings}position_embedding.weight",
        target=POSITIONS,
        shape=("positions", "hidden"),
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
        patch,
        *((bias,) if patch_bias else ()),
        positions,
        *norm(f"{layer}layer_norm1", f"{block}ln1", bias=True),
        *norm(f"{layer}layer_norm2", f"{block}ln2", bias=True),
        *attention,
        *linear(f"{layer}mlp.fc1", f"{block}ffn_up", "inner", "hidden", bias=True),
        *linear(f"{layer}mlp.fc2", f"{block}ffn_down", "hidden", "inner", bias=True),
    )


def unused_patterns(prefix: str, tower: Tower) -> tuple[str, ...]:
    """Regular expressions of a tower's tensors that are not used: the layers behind the selected
    one, and what its kind lists. `prefix` ends in a dot or is empty."""
    start = re.escape(prefix)
    behind = "|".join(str(i) for i in range(tower.used, tower.layers)) or "none"
    return (
        rf"{start}encoder\.layers\.({behind})\..*",
        *(start + pattern for pattern in tower.kind.unused),
    )


def detect_prefix(tensors: Mapping[str, Tensor], inside: tuple[str, ...]) -> str | None:
    """Where the tower's tensors begin: `inside` the checkpoint, or in a separate tower's file."""
    for prefix in (*(f"{place}." for place in inside), "vision_model.", ""):
        if f"{prefix}embeddings.patch_embedding.weight" in tensors:
            return prefix
    return None
