"""What a checkpoint's configuration says of its vision tower and projector."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from imp_deploy.bundle import Mode
from imp_deploy.convert.families.base import (
    Config,
    Family,
    get,
    need_int,
    need_layers,
    need_number,
    short,
)
from imp_deploy.convert.projectors import Projector
from imp_deploy.convert.towers.base import Tower, TowerKind
from imp_deploy.convert.towers.clip import CLIP
from imp_deploy.convert.towers.siglip import SIGLIP
from imp_deploy.errors import BadInput


def read_tower(
    kind: TowerKind,
    config: Config,
    tower_config: Config | None,
    where: str,
    tower_where: str = "the vision tower's config.json",
) -> Tower:
    """The tower's shape from the checkpoint's `vision_tower_config`, or the separate tower's own
    config, or the published tower's; the tensors are checked against it later. `where` and
    `tower_where` name the two configurations in errors."""
    nested = _vision_config(config.get("vision_tower_config"), where)
    separate = _vision_config(tower_config, tower_where)
    for key in sorted(nested.keys() & separate.keys() & kind.published.keys()):
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
        vision, home = {**kind.published, **named_tower(config)}, where
    model_type = get(vision, ("model_type",), kind.model_types[0])
    if any(model_type in other.model_types for other in (SIGLIP, CLIP) if other != kind):
        raise BadInput(
            f"{home}: the vision tower is of type {short(model_type)} and this model has a "
            f"{kind.name} tower; give that one ({kind.example})."
        )
    act = get(vision, ("hidden_act",), kind.activation)
    if act != kind.activation:
        raise BadInput(
            f"{home}: the vision tower's activation is {short(act)} and {kind.name}'s is "
            f"{kind.activation!r}; give a checkpoint with a {kind.name} tower."
        )
    layers = need_layers(vision, ("num_hidden_layers",), home)
    epsilon = get(vision, ("layer_norm_eps",), kind.published["layer_norm_eps"])
    tower = Tower(
        kind=kind,
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
    """A tower's configuration, alone or inside of that of a whole SigLIP or CLIP; empty where there
    is none."""
    inner = value.get("vision_config") if isinstance(value, dict) else None
    for part in (value, inner):
        if part is not None and not isinstance(part, dict):
            raise BadInput(
                f"{where}: the vision tower's configuration is {short(part)} and must be an "
                "object; download config.json again."
            )
    return {**(value or {}), **(inner or {})}


def named_tower(config: Config) -> Config:
    """`…-patch14-384` at the end of the tower's name is its resolution; openai's CLIPs without one
    have 224."""
    name = str(config.get("mm_vision_tower"))
    named = re.search(r"(clip-vit-\w+-)?patch([0-9]{1,4})(?:-([0-9]{1,4}))?$", name)
    if named is None or not (named[1] or named[3]):
        return {}
    return {"patch_size": int(named[2]), "image_size": int(named[3] or 224)}


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
            f"{where}: mm_vision_select_feature is {short(feature)}, and only 'patch' can be "
            "exported; check that config.json belongs to this checkpoint."
        )
    return used


def read_mode(config: Config, aspects: Mapping[str, Mode], where: str) -> Mode:
    """How a picture becomes a square; `aspects` as in `Family`."""
    aspect = get(config, ("image_aspect_ratio",), next(iter(aspects)))
    if not isinstance(aspect, str) or aspect not in aspects:
        raise BadInput(
            f"{where}: image_aspect_ratio is {short(aspect)}, and only "
            f"{' and '.join(map(repr, aspects))} can be exported; check that config.json belongs "
            "to this checkpoint."
        )
    return aspects[aspect]


def refuse_marks(config: Config, where: str) -> None:
    """Tokens that some training put around every picture; no published checkpoint has them."""
    if get(config, ("mm_use_im_start_end",), False) is not False:
        raise BadInput(
            f"{where}: mm_use_im_start_end is {short(config['mm_use_im_start_end'])}, and a prompt "
            "with tokens around the picture cannot be exported; use a checkpoint without them."
        )


def read_projector(family: Family, config: Config, where: str) -> Projector:
    kind = get(config, ("mm_projector_type",), None)
    for projector in family.projectors:
        if kind == projector.name or (kind is None and len(family.projectors) == 1):
            return projector
    known = " or ".join(repr(p.name) for p in family.projectors)
    raise BadInput(
        f"{where}: the projector type {short(kind)} does not fit {family.name}, which has {known}; "
        "check that config.json belongs to this checkpoint."
    )
