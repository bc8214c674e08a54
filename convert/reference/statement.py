"""What a multimodal config.json states, in one form for all layouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from imp_deploy.convert.reference.pictures import Mode
from imp_deploy.errors import BadInput

Kind = Literal["phi", "qwen2", "phi3", "llama"]
Config = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Family:
    kind: Kind
    projectors: tuple[str, ...]  # the first is meant where config.json names none
    aspect: str = "pad"  # where config.json says nothing


_IMP: dict[str, Any] = {"projectors": ("mlp2x_gelu",), "aspect": "square"}
_MOBILE = Family(kind="llama", projectors=("ldpnet", "ldpnetv2"))
_LLAVA = Family(kind="llama", projectors=("mlp2x_gelu",))

# By model_type, and by architecture where a config states no (or an odd) model_type.
FAMILIES: dict[str, Family] = {
    "imp": Family(kind="phi", **_IMP),
    "imp_qwen2": Family(kind="qwen2", **_IMP),
    "imp_phi3": Family(kind="phi3", **_IMP),
    "ImpForCausalLM": Family(kind="phi", **_IMP),
    "ImpQwen2ForCausalLM": Family(kind="qwen2", **_IMP),
    "ImpPhi3ForCausalLM": Family(kind="phi3", **_IMP),
    "mobilevlm": _MOBILE,
    "MobileLlamaForCausalLM": _MOBILE,
    "llava": _LLAVA,
    "llava_llama": _LLAVA,
    "LlavaLlamaForCausalLM": _LLAVA,
    "LlavaForConditionalGeneration": _LLAVA,
}
# The language models that adapters are trained on.
PLAIN: dict[str, Kind] = {
    "phi": "phi",
    "phi-msft": "phi",
    "qwen2": "qwen2",
    "phi3": "phi3",
    "llama": "llama",
}


PLAIN_ARCHITECTURES = {
    "PhiForCausalLM",
    "Qwen2ForCausalLM",
    "Phi3ForCausalLM",
    "LlamaForCausalLM",
}


@dataclass(frozen=True, kw_only=True)
class Statement:
    kind: Kind
    language: Config  # the language model's own keys
    vision: Config | None  # the tower's shape; None: not stated here
    tower: str | None  # where a tower outside the checkpoint is
    projector: str
    select: int  # index into embeddings + layer outputs
    mode: Mode


def is_multimodal(config: Config) -> bool:
    return bool(_families(config))


def kind_of(config: Config, where: str) -> Kind:
    """The language model of a multimodal or a plain config."""
    if is_multimodal(config):
        return _family(config, where).kind
    claim = config.get("model_type")
    if claim not in PLAIN:
        raise BadInput(
            f"{where} is of type {claim!r}, no language model that Imp, LLaVA or MobileVLM are "
            "made of; give the folder of the model that the adapter was trained on as --base."
        )
    return PLAIN[claim]


def read_statement(config: Config, where: str) -> Statement:
    """`where` is config.json's path, for errors. Raises `BadInput`."""
    family = _family(config, where)
    nested = "text_config" in config
    if nested:
        language = dict(config["text_config"])
        if config.get("tie_word_embeddings"):
            language["tie_word_embeddings"] = True
        _expect(language, "model_type", ("llama",), f"{where}, text_config")
        _expect(config, "vision_feature_select_strategy", ("default",), where)
        _expect(config, "projector_hidden_act", ("gelu",), where)
        select = config.get("vision_feature_layer", -2)
    else:
        language = config
        _expect(config, "mm_vision_select_feature", ("patch",), where)
        select = config.get("mm_vision_select_layer", -2)
    if not isinstance(select, int):
        raise BadInput(
            f"{where} selects the tower's layers {select!r}, and one is used; choose a checkpoint "
            "of LLaVA-1.5."
        )
    return Statement(
        kind=family.kind,
        language=language,
        vision=config.get("vision_config" if nested else "vision_tower_config"),
        tower=config.get("mm_vision_tower"),
        projector=_projector(config, family, where),
        select=select,
        mode=_mode(config, family, where),
    )


def _projector(config: Config, family: Family, where: str) -> str:
    _expect(config, "mm_projector_type", family.projectors, where)
    if len(family.projectors) > 1 and "mm_projector_type" not in config:
        raise BadInput(
            f"{where} has no mm_projector_type, which is one of {', '.join(family.projectors)} "
            "here; download it again."
        )
    return str(config.get("mm_projector_type", family.projectors[0]))


def _mode(config: Config, family: Family, where: str) -> Mode:
    ratio = config.get("image_aspect_ratio", family.aspect)
    if ratio not in ("square", "pad"):
        raise BadInput(
            f"{where}: image_aspect_ratio {ratio!r} is not square or pad; check the checkpoint."
        )
    return "pad" if ratio == "pad" else "squash"


def _expect(config: Config, key: str, values: tuple[str, ...], where: str) -> None:
    if config.get(key, values[0]) not in values:
        raise BadInput(
            f"{where}: {key} is {config[key]!r}, and {' or '.join(values)} is supported; choose "
            "another checkpoint."
        )


def _architectures(config: Config) -> list[str]:
    return [name for name in config.get("architectures") or [] if isinstance(name, str)]


def _claims(config: Config) -> list[Any]:
    return [config.get("model_type"), *_architectures(config)]


def _families(config: Config) -> set[Family]:
    return {FAMILIES[claim] for claim in _claims(config) if claim in FAMILIES}


def _family(config: Config, where: str) -> Family:
    families = _families(config)
    # "llava" is said of many models; an architecture that is none of ours is not one of them. The
    # training codes leave the base's architecture in the config of an adapter.
    foreign = set(_architectures(config)) - FAMILIES.keys() - PLAIN_ARCHITECTURES
    if len(families) != 1 or foreign:
        raise BadInput(
            f"{where} names {_claims(config)}, not one of the Imp, LLaVA-1.5 or MobileVLM models; "
            "check the folder."
        )
    return families.pop()
