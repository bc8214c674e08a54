"""The SigLIP vision tower and the projector: names, shapes, and what the mmproj says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imp_deploy.convert.families.base import (
    Config,
    Rule,
    get,
    linear,
    need_int,
    need_layers,
    need_number,
    short,
)
from imp_deploy.convert.tensor import Tensor

from imp_deploy.bundle import Mode
from imp_deploy.errors import BadInput

# SigLIP-SO400M/14, for checkpoints that only name their tower (google/siglip-so400m-patch14-384).
_SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "layer_norm_eps": 1e-6,
}
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


def read_tower(
    config: Config,
    tower_config: Config | None,
    where: str,
    tower_where: str = "the vision tower's config.json",
) -> Tower:
    """The tower's shape from the checkpoint's `vision_tower_config`, or the separate tower's own
    config, or that of SigLIP-SO400M; the tensors are checked against it later. `where` and
    `tower_where` name the two configurations in errors."""
    nested = _vision_config(config.get("vision_tower_config"), where)
    separate = _vision_config(tower_config, tower_where)
    for key in sorted(nested.keys() & separate.keys() & _SO400M.keys()):
        if nested[key] != separate[key]:
            raise BadInput(
                f"{where}: vision_tower_config says {key} {short(nested[key])} and {tower_where} "
                f"says {short(separate[key])}; give the tower that this checkpoint came with."
            )
    if nested:
        vision, home = nested, f"{where}: vision_tower_config"
    elif separate:
        vision, home = separate, tower_where
    else:
        vision, home = {**_SO400M, **_named_tower(config)}, where
    act = get(vision, ("hidden_act",), "gelu_pytorch_tanh")
    if act != "gelu_pytorch_tanh":
        raise BadInput(
            f"{home}: the vision tower's activation {short(act)} is not SigLIP's; check that this "
            "is an Imp checkpoint."
        )
    layers = need_layers(vision, ("num_hidden_layers",), home)
    epsilon = get(vision, ("layer_norm_eps",), _SO400M["layer_norm_eps"])
    tower = Tower(
        hidden=need_int(vision, ("hidden_size",), home),
        inner=need_int(vision, ("intermediate_size",), home),
        layers=layers,
        used=_used_layers(config, layers, where),
        heads=need_int(vision, ("num_attention_heads",), home),
        image_size=need_int(vision, ("image_size",), home),
        patch=need_int(vision, ("patch_size",), home),
        epsilon=need_number(epsilon, "layer_norm_eps", home, below=1),
    )
    if tower.hidden % tower.heads or tower.grid == 0:
        raise BadInput(
            f"{home}: the vision tower's width {tower.hidden} and {tower.heads} heads, or image "
            f"size {tower.image_size} and patch size {tower.patch}, do not fit each other; "
            "download config.json again."
        )
    width = get(config, ("mm_hidden_size",), tower.hidden)
    if width != tower.hidden and (nested or separate):
        raise BadInput(
            f"{where}: mm_hidden_size is {short(width)} and the vision tower is {tower.hidden} "
            "wide; give the tower that this checkpoint was trained with."
        )
    return tower


def _vision_config(value: Any, where: str) -> Config:
    """A SigLIP vision config, alone or inside of a whole SigLIP's; empty where there is none."""
    inner = value.get("vision_config") if isinstance(value, dict) else None
    for part in (value, inner):
        if part is not None and not isinstance(part, dict):
            raise BadInput(
                f"{where}: the vision tower's configuration is {short(part)} and must be an "
                "object; download config.json again."
            )
    return {**(value or {}), **(inner or {})}


def _named_tower(config: Config) -> Config:
    """`…-patch14-384` at the end of the tower's name is its resolution."""
    named = re.search(r"patch([0-9]{1,4})-([0-9]{1,4})$", str(config.get("mm_vision_tower", "")))
    if named is None:
        return {}
    return {"patch_size": int(named[1]), "image_size": int(named[2])}


def _used_layers(config: Config, layers: int, where: str) -> int:
    select = get(config, ("mm_vision_select_layer",), -2)
    if type(select) is not int:
        raise BadInput(
            f"{where}: mm_vision_select_layer is {short(select)} and must be an integer; download "
            "config.json again."
        )
    # hidden_states has layers + 1 entries, the first is the input of layer 0.
    used = layers + 1 + select if select < 0 else select
    if not 0 < used <= layers:
        raise BadInput(
            f"{where}: mm_vision_select_layer {short(select)} is outside of {layers} layers; "
            "download config.json again."
        )
    feature = get(config, ("mm_vision_select_feature",), "patch")
    if feature != "patch":
        raise BadInput(
            f"{where}: mm_vision_select_feature is {short(feature)} and SigLIP has only 'patch'; "
            "check that this is an Imp checkpoint."
        )
    return used


def read_mode(config: Config, where: str) -> Mode:
    """How a picture becomes a square: `square` squashes it, `pad` pads it with grey."""
    aspect = get(config, ("image_aspect_ratio",), "square")
    modes: dict[Any, Mode] = {"square": "squash", "pad": "pad"}
    if not isinstance(aspect, str) or aspect not in modes:
        raise BadInput(
            f"{where}: image_aspect_ratio {short(aspect)} is not supported, only 'square' and "
            "'pad'; check that this is an Imp checkpoint."
        )
    return modes[aspect]


def check_projector(config: Config, where: str) -> None:
    kind = config.get("mm_projector_type", "mlp2x_gelu")
    if kind != "mlp2x_gelu":
        raise BadInput(
            f"{where}: the projector type {short(kind)} is unknown; Imp has 'mlp2x_gelu', so check "
            "that this is an Imp checkpoint."
        )


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
