"""What a language-model family is to the converter: data, and one function on the config."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from imp_deploy.bundle import Mode
from imp_deploy.convert.projectors import Projector
from imp_deploy.convert.rules import Rule
from imp_deploy.convert.towers.base import TowerKind
from imp_deploy.errors import BadInput
from imp_deploy.prompt import ChatFormat

Config = dict[str, Any]
Value = int | float | bool
TokenizerKind = Literal["bpe", "spm"]

_LARGEST = 2**31 - 1  # GGUF's keys are 32 bits wide
_SMALLEST = 1e-37  # of a normal float32
_MOST_LAYERS = 1000


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """The sizes that tensor shapes are made of. `rows`: rows of the embedding table; `kv`: width
    of keys and values."""

    hidden: int
    inner: int
    layers: int
    heads: int
    heads_kv: int
    rows: int

    @property
    def kv(self) -> int:
        return self.hidden // self.heads * self.heads_kv

    @property
    def sizes(self) -> Mapping[str, int]:
        """By the names that the tables write shapes with."""
        return {**dataclasses.asdict(self), "kv": self.kv}


@dataclass(frozen=True, kw_only=True)
class Naming:
    """One way to name the tensors. `marker` is a tensor that only this naming has; `projector` and
    `tower` are the prefixes of theirs (a tower may have several); `ignored` are regular expressions
    of tensors that carry no weights."""

    marker: str
    rules: tuple[Rule, ...]
    projector: str
    tower: tuple[str, ...]
    ignored: tuple[str, ...] = ()


def same(config: Config, _where: str) -> Config:
    return config


@dataclass(frozen=True, kw_only=True)
class Family:
    """A language model with a tower and a projector, as one line of training made them.

    `read_config` gives dimensions and the GGUF's own keys (without the `arch.` prefix); `settings`
    brings a config.json of another form into the one that everything here reads. `base_types` and
    `base_architectures`: what the language model's own config.json says, on which a LoRA adapter is
    trained; the training codes leave that architecture in the adapter's. `aspects`: what
    `image_aspect_ratio` may say, the first where it says nothing. `resolutions`: those that are
    exported beside the checkpoint's own if nothing is asked for. `hub_ids`: the published ones.
    """

    name: str
    hub_ids: tuple[str, ...]
    architecture: str
    model_types: tuple[str, ...]
    architectures: tuple[str, ...]
    base_types: tuple[str, ...]
    base_architectures: tuple[str, ...]
    namings: tuple[Naming, ...]
    read_config: Callable[[Config, str], tuple[Dimensions, Mapping[str, Value]]]
    chat: ChatFormat
    tokenizer: TokenizerKind
    pre_tokenizer: str
    add_bos: bool
    end_tokens: tuple[str, ...]
    tower: TowerKind
    projectors: tuple[Projector, ...]
    aspects: Mapping[str, Mode]
    resolutions: tuple[int, ...] = ()
    settings: Callable[[Config, str], Config] = same
    # llama.cpp reads a token attribute from the model's name, see `phi3.py`.
    name_suffix: str = ""

    @property
    def nested(self) -> bool:
        """Whether config.json has parts for the language model and the tower."""
        return self.settings is not same


def need(config: Config, names: tuple[str, ...], where: str) -> Any:
    """The first of `names` that the config has and that is not null."""
    value = get(config, names, None)
    if value is None:
        raise BadInput(f"{where} lacks {' or '.join(names)}; download config.json again.")
    return value


def get(config: Config, names: tuple[str, ...], default: Any) -> Any:
    for name in names:
        if config.get(name) is not None:
            return config[name]
    return default


def need_int(config: Config, names: tuple[str, ...], where: str, default: int | None = None) -> int:
    value = need(config, names, where) if default is None else get(config, names, default)
    if type(value) is not int or not 0 < value <= _LARGEST:
        raise BadInput(
            f"{where}: {names[0]} is {short(value)} and must be a positive integer; download "
            "config.json again."
        )
    return value


def need_layers(config: Config, names: tuple[str, ...], where: str) -> int:
    layers = need_int(config, names, where)
    if layers > _MOST_LAYERS:
        raise BadInput(
            f"{where}: {names[0]} is {layers}, which no model has; download config.json again."
        )
    return layers


def need_number(value: Any, name: str, where: str, below: float = 1e38) -> float:
    """A positive number that a float32 can hold."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not _SMALLEST <= value < below:
        raise BadInput(
            f"{where}: {name} is {short(value)} and must be a positive number below {below:g}; "
            "download config.json again."
        )
    return float(value)


def need_rotary(value: Any, head: int, where: str) -> int:
    """The rotary part of a head of `head` values: whole pairs."""
    if type(value) is not int or not 0 < value <= head or value % 2:
        raise BadInput(
            f"{where}: {short(value)} rotary dimensions do not fit heads of {head}; download "
            "config.json again."
        )
    return value


def short(value: Any) -> str:
    """A value from a foreign file as a part of a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def refuse_unless(
    config: Config, names: tuple[str, ...], allowed: tuple[Any, ...], where: str
) -> None:
    """An option that llama.cpp's graph of this architecture does not have must be off."""
    value = get(config, names, allowed[0])
    if value not in allowed:
        raise BadInput(
            f"{where}: {names[0]} is {short(value)}, and llama.cpp's graph of this architecture "
            f"computes only {allowed[0]!r}; check that config.json belongs to this checkpoint."
        )


def rope(config: Config) -> Config:
    """RoPE settings: transformers 5 nests them in `rope_parameters`, older files do not."""
    nested = config.get("rope_parameters")
    return {**config, **nested} if isinstance(nested, dict) else config


def refuse_rope_scaling(config: Config, where: str) -> None:
    for key in ("rope_scaling", "rope_parameters"):
        scaling = get(config, (key,), {})
        if not isinstance(scaling, dict):
            raise BadInput(
                f"{where}: {key} is {short(scaling)} and must be an object; download config.json "
                "again."
            )
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind != "default":
            raise BadInput(
                f"{where}: rope scaling {short(kind)} is not supported, because this family was "
                "trained without it; check that config.json belongs to this checkpoint."
            )


def heads_divide(dimensions: Dimensions, where: str) -> Dimensions:
    d = dimensions
    if d.hidden % d.heads or d.heads % d.heads_kv:
        raise BadInput(
            f"{where}: hidden size {d.hidden}, {d.heads} heads and {d.heads_kv} key-value heads "
            "do not divide; download config.json again."
        )
    return dimensions


def gated_dimensions(config: Config, where: str) -> Dimensions:
    """Of a language model of LLaMA's kind, whose FFN has a gate with SiLU."""
    refuse_unless(config, ("hidden_act",), ("silu",), where)
    heads = need_int(config, ("num_attention_heads",), where)
    dimensions = Dimensions(
        hidden=need_int(config, ("hidden_size",), where),
        inner=need_int(config, ("intermediate_size",), where),
        layers=need_layers(config, ("num_hidden_layers",), where),
        heads=heads,
        heads_kv=need_int(config, ("num_key_value_heads",), where, heads),
        rows=need_int(config, ("vocab_size",), where),
    )
    return heads_divide(dimensions, where)
