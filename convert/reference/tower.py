"""Vision towers: SigLIP, and CLIP with its class token, from transformers' modules."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imp_deploy.convert.reference.loading import fill, refusing
from imp_deploy.convert.reference.pictures import CLIP, SIGLIP, Colours
from imp_deploy.convert.reference.weights import read_weights
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

if TYPE_CHECKING:
    from torch import Tensor, nn

    State = dict[str, Tensor]

# Of a CLIP tower alone: its token in front of the patches, and the norm in front of the layers.
_CLASS = "embeddings.class_embedding"
_PRE_NORM = "pre_layrnorm"  # sic
# The published towers, for checkpoints that state nothing: both have 16 heads, and this many layers
# and pixels, which the position table cannot tell (27 x 27 patches of 14 are 378 to 391 pixels).
_PUBLISHED = {"siglip": (27, 384), "clip": (24, 336)}
_SHAPE_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
)
# No language model sees them; `position_ids` is a constant that old versions stored.
_UNUSED = re.compile(r"head\.|post_layernorm\.|embeddings\.position_ids$")
# transformers 5 saves a vision model for itself without a prefix.
_TOWER_PART = re.compile(r"embeddings\.|encoder\.|pre_layrnorm\.|post_layernorm\.|head\.")
_OTHER_HALF = re.compile(r"text_model\.|(visual|text)_projection\.|logit_(scale|bias)$")


@dataclass(frozen=True, eq=False)
class Tower:
    """Embeddings and the layers up to the one that is used."""

    modules: nn.ModuleDict
    clip: bool
    side: int  # pixels of its own position table
    patch: int  # pixels
    hidden: int

    @property
    def colours(self) -> Colours:
        return CLIP if self.clip else SIGLIP

    def features(self, pixels: Tensor) -> Tensor:
        """[1, 3, side, side] -> [1, patches, hidden], row by row; without the class token. At
        another side than its own, the patches' positions are interpolated."""
        hidden = self.modules["embeddings"](pixels, interpolate_pos_encoding=True)
        if self.clip:
            hidden = self.modules[_PRE_NORM](hidden)
        output: Tensor = self.modules["encoder"](inputs_embeds=hidden).last_hidden_state
        return output[:, 1:] if self.clip else output


def read_tower(folder: Path) -> tuple[State, dict[str, Any]]:
    """Tensors and stated shape of a folder with a whole SigLIP or CLIP model, or its vision half.
    Raises `BadInput`."""
    weights = {k: v for k, v in read_weights(folder).items() if not _OTHER_HALF.match(k)}
    state = {name.removeprefix("vision_model."): tensor for name, tensor in weights.items()}
    others = [name for name in state if not _TOWER_PART.match(name)]
    if others or not state:
        raise BadInput(
            f"{folder} is not a SigLIP or CLIP checkpoint (unknown tensors: {others[:5]}); check "
            "--vision-tower."
        )
    config = read_json_object(folder / "config.json")
    return state, config.get("vision_config", config)


def build_tower(state: State, stated: dict[str, Any] | None, select: int, where: str) -> Tower:
    """`select` is an index into embeddings + layer outputs: -2 of 27 layers takes the output of the
    26th. Later layers, the norm behind the last one and the pooling head are dropped where they are
    stored. Raises `BadInput`."""
    import torch
    from torch import nn

    clip = _CLASS in state
    _check_kind(clip, stated, where)
    what = f"{where}: the vision tower"
    config = _config(state, stated, clip, what)
    whole = config.num_hidden_layers
    used = select if select >= 0 else whole + 1 + select
    if not 0 < used <= whole:
        raise BadInput(
            f"{where} selects layer {select} of the vision tower's {whole}; check the checkpoint."
        )
    if (stored := max(map(_layer, state)) + 1) > whole:
        raise BadInput(
            f"{what} has {stored} layers, its config says {whole}; check that they belong together."
        )
    wanted = {k: v for k, v in state.items() if _layer(k) < used and not _UNUSED.match(k)}
    config.num_hidden_layers = used
    with refusing(what):
        with torch.device("meta"):
            parts = _modules(config, clip)
        positions = (config.image_size // config.patch_size) ** 2 + int(clip)
        parts["embeddings"].position_ids = torch.arange(positions)[None]
        modules = fill(nn.ModuleDict(parts), wanted)
    return Tower(modules, clip, config.image_size, config.patch_size, config.hidden_size)


def _check_kind(clip: bool, stated: dict[str, Any] | None, where: str) -> None:
    kind = (stated or {}).get("model_type", "")
    if ("clip" in kind and not clip) or ("siglip" in kind and clip):
        raise BadInput(
            f"{where}: the vision tower's config says {kind}, and its tensors are "
            f"{'CLIP' if clip else 'not CLIP'}'s (class token); check that they belong together."
        )


def _config(state: State, stated: dict[str, Any] | None, clip: bool, what: str) -> Any:
    """The whole tower's shape as transformers' configuration. Nothing stated: the tensors' shapes,
    and the published tower's for the rest."""
    from transformers import CLIPVisionConfig, SiglipVisionConfig

    with refusing(what):
        if stated is not None:
            shape: dict[str, Any] = {key: stated[key] for key in _SHAPE_KEYS if key in stated}
        else:
            layers, side = _PUBLISHED["clip" if clip else "siglip"]
            hidden, channels, patch, _ = state["embeddings.patch_embedding.weight"].shape
            rows = state["embeddings.position_embedding.weight"].shape[0] - int(clip)
            grid = math.isqrt(rows)
            shape = {
                "hidden_size": hidden,
                "intermediate_size": state["encoder.layers.0.mlp.fc1.weight"].shape[0],
                "num_hidden_layers": layers,
                "num_attention_heads": 16,
                "num_channels": channels,
                "image_size": side if grid == side // patch else grid * patch,
                "patch_size": patch,
            }
        shape |= {"attn_implementation": "eager"}  # unset, transformers warns
        return CLIPVisionConfig(**shape) if clip else SiglipVisionConfig(**shape)


def _modules(config: Any, clip: bool) -> dict[str, nn.Module]:
    if clip:
        from torch import nn
        from transformers.models.clip.modeling_clip import CLIPEncoder, CLIPVisionEmbeddings

        return {
            "embeddings": CLIPVisionEmbeddings(config),
            _PRE_NORM: nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps),
            "encoder": CLIPEncoder(config),
        }
    from transformers.models.siglip.modeling_siglip import SiglipEncoder, SiglipVisionEmbeddings

    return {"embeddings": SiglipVisionEmbeddings(config), "encoder": SiglipEncoder(config)}


def _layer(name: str) -> int:
    match = re.match(r"encoder\.layers\.(\d+)\.", name)
    return int(match[1]) if match else -1
