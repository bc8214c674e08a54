"""What a checkpoint's configuration says of its vision tower and projector."""

from __future__ import annotations

import re
from typing import Any

from imp_deploy.bundle import Mode
from imp_deploy.convert.families.base import Config, get, need_int, need_layers, need_number, short
from imp_deploy.convert.tower import Tower
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
