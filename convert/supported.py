"""What `imp-deploy export --list` shows: the families that can be exported, and what was verified
of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imp_deploy.bundle import Mode
from imp_deploy.convert.families import FAMILIES
from imp_deploy.convert.families.base import Family
from imp_deploy.convert.projectors import Projector
from imp_deploy.convert.verify import MIN_COSINE_16


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """A picture's side, and the visual tokens that the language model gets of it."""

    pixels: int
    visual_tokens: int


@dataclass(frozen=True, kw_only=True)
class SupportedProjector:
    """`name`: as `mm_projector_type` has it. `resolutions`: what is exported if nothing is asked
    for, of checkpoints with the published tower; `other_resolutions`: whether smaller ones may be
    asked for."""

    name: str
    resolutions: tuple[Resolution, ...]
    other_resolutions: bool


@dataclass(frozen=True, kw_only=True)
class Supported:
    """One family. `language_model`: llama.cpp's name of the architecture. `tower_id`: the one that
    the published checkpoints name. `pictures`: from `image_aspect_ratio` to what is done.
    `adapter_bases`: the `model_type` of the plain language models that a LoRA adapter is merged
    into. `verified`: see `Method`."""

    family: str
    hub_ids: tuple[str, ...]
    language_model: str
    tower: str
    tower_id: str
    projectors: tuple[SupportedProjector, ...]
    pictures: Mapping[str, Mode]
    adapter_bases: tuple[str, ...]
    verified: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Method:
    """How that was verified. `worst_cosine`: no visual token is further from PyTorch's.
    `adapters`: what the weights that a LoRA adapter is merged into are."""

    checkpoints: str = "random, small"
    published_weights: bool = False
    bits: int = 16
    reference: str = "PyTorch in fp32"
    worst_cosine: float = MIN_COSINE_16
    greedy_tokens: str = "equal, or parted where two logits are as near as the error"
    adapters: str = "merged as PEFT does, but for the rounding to F16"
    tests: tuple[str, ...] = ("tests/convert/test_parity.py", "tests/convert/test_lora.py")


@dataclass(frozen=True, kw_only=True)
class Listing:
    families: tuple[Supported, ...]
    method: Method = field(default_factory=Method)


# By family: what checkpoints of the tests have, each of it at least one of them. What none has must
# not stand here: tests/test_supported.py compares.
_VERIFIED = {
    "imp-phi2": (
        "hub naming, training naming, tower inside, whole tower inside, separate tower, squash, "
        "pad, safetensors, .bin, shards, F16, BF16, F32, LoRA adapter"
    ),
    "imp-qwen2": (
        "training naming, tower inside, separate tower, squash, pad, safetensors, .bin, shards, "
        "F16, F32, grouped queries, LoRA adapter"
    ),
    "imp-phi3": (
        "training naming, tower inside, whole tower inside, squash, pad, safetensors, .bin, F16, "
        "BF16, grouped queries, LoRA adapter"
    ),
    "mobilevlm": (
        "ldpnet, ldpnetv2, training naming, tower inside, whole tower inside, separate tower, pad, "
        "safetensors, .bin, shards, F16, BF16, F32, grouped queries, keys of another library, "
        "LoRA adapter"
    ),
    "llava": (
        "training naming, tower inside, separate tower, pad, safetensors, .bin, F16, BF16, grouped "
        "queries, old buffers, LoRA adapter"
    ),
    "llava-hf": (
        "the hub's naming, transformers 4.52's naming, transformers 5's naming, transformers 5's "
        "files, whole tower inside, pad, safetensors, shards, F16, BF16, F32"
    ),
}


def listing() -> Listing:
    return Listing(families=tuple(_supported(family) for family in FAMILIES))


def _supported(family: Family) -> Supported:
    return Supported(
        family=family.name,
        hub_ids=family.hub_ids,
        language_model=family.architecture,
        tower=family.tower.name,
        tower_id=family.tower.example,
        projectors=tuple(_projector(family, projector) for projector in family.projectors),
        pictures=family.aspects,
        adapter_bases=family.base_types,
        verified=tuple(_VERIFIED[family.name].split(", ")),
    )


def _projector(family: Family, projector: Projector) -> SupportedProjector:
    own, patch = family.tower.published["image_size"], family.tower.published["patch_size"]
    smaller = () if projector.grid else sorted(family.resolutions, reverse=True)
    sides = (own, *(side for side in smaller if side < own))
    return SupportedProjector(
        name=projector.name,
        resolutions=tuple(
            Resolution(pixels=s, visual_tokens=projector.visual_tokens(s, patch)) for s in sides
        ),
        other_resolutions=projector.grid is None,
    )
