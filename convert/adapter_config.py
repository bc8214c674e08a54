"""adapter_config.json: which rank and scale each adapted module has, by PEFT's own rules.

A setting that changes what is computed, and that a plain merge does not follow, is refused; so is
one that nobody here knows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from imp_deploy.convert.families.base import short
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

T = TypeVar("T", int, float)

# Ends the sentence about an adapter that only PEFT can merge.
MERGE = "merge it into its base model with PEFT's merge_and_unload, save that, and export it"
SAVE_AGAIN = "save the adapter again with PEFT's save_pretrained"

# What PEFT 0.4 to 0.21 writes and what a merge either reads or need not know.
_KNOWN = {
    *("alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "corda_config"),
    *("eva_config", "exclude_modules", "inference_mode", "init_lora_weights", "layers_pattern"),
    *("layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config"),
    *("megatron_core", "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r"),
    *("rank_pattern", "revision", "runtime_config", "target_modules", "task_type"),
    *("use_rslora", "velora_config"),
}

# Starting values of A and B that leave the base as it is. The others (pissa, olora, corda, loftq,
# lora_ga) subtract something from the base before training.
_INITS = ("gaussian", "eva", "orthogonal", "mica")

_LARGEST = 2**31


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """`rank` and `alpha` are those of modules that no pattern names."""

    base_name: str | None
    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    rank_stabilized: bool

    def rank_of(self, module: str) -> int:
        return _by_pattern(self.ranks, module, self.rank)

    def scale_of(self, module: str) -> float:
        """alpha / rank, and with rank stabilization (arXiv 2312.03732) alpha / sqrt(rank)."""
        rank = self.rank_of(module)
        alpha = _by_pattern(self.alphas, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)


def read_adapter_config(path: Path) -> AdapterConfig:
    config = read_json_object(path, cure=SAVE_AGAIN)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise BadInput(
            f"{path}: peft_type is {short(kind)}, and only LORA is merged here; {MERGE}."
        )
    _refuse_variants(config, path)
    base, stabilized = config.get("base_model_name_or_path"), config.get("use_rslora", False)
    if base is not None and not isinstance(base, str):
        raise _wrong(path, "base_model_name_or_path", base, "a text or null")
    if not isinstance(stabilized, bool):
        raise _wrong(path, "use_rslora", stabilized, "true or false")
    return AdapterConfig(
        base_name=base or None,
        rank=_rank(config.get("r"), "r", path),
        alpha=_alpha(config.get("lora_alpha"), "lora_alpha", path),
        ranks={
            pattern: _rank(value, f"rank_pattern of {short(pattern)}", path)
            for pattern, value in _patterns(config, "rank_pattern", path).items()
        },
        alphas={
            pattern: _alpha(value, f"alpha_pattern of {short(pattern)}", path)
            for pattern, value in _patterns(config, "alpha_pattern", path).items()
        },
        rank_stabilized=stabilized,
    )


def _refuse_variants(config: dict[str, Any], path: Path) -> None:
    start = config.get("init_lora_weights")
    if not (start is None or isinstance(start, bool) or start in _INITS):
        raise BadInput(
            f"{path}: init_lora_weights is {short(start)}, which changes the base model before "
            "training; make a plain LoRA of it with PEFT's save_pretrained and its "
            f"path_initial_model_for_weight_conversion, or {MERGE}."
        )
    bias = config.get("bias")
    if bias not in (None, "none", "all", "lora_only"):
        raise _wrong(path, "bias", bias, "none, all or lora_only")
    for name in sorted(config.keys() - _KNOWN):
        if config[name] not in (None, False, [], {}):
            raise BadInput(
                f"{path}: {name} is {short(config[name])}, and only LoRA without it is merged "
                f"here; {MERGE}."
            )


def _patterns(config: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    """The mapping under `key`, whose names are regular expressions."""
    patterns = config.get(key) or {}
    if not isinstance(patterns, dict):
        raise _wrong(path, key, patterns, "an object")
    for pattern in patterns:
        try:
            _compiled(pattern)
        except (re.error, OverflowError, RecursionError):
            raise _wrong(path, f"a name in {key}", pattern, "a regular expression") from None
    return patterns


def _rank(value: Any, name: str, path: Path) -> int:
    if type(value) is not int or not 0 < value < _LARGEST:
        raise _wrong(path, name, value, "a positive integer")
    return value


def _alpha(value: Any, name: str, path: Path) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < _LARGEST:
        raise _wrong(path, name, value, "a positive number")
    return float(value)


def _wrong(path: Path, name: str, value: Any, wanted: str) -> BadInput:
    return BadInput(f"{path}: {name} is {short(value)} and must be {wanted}; {SAVE_AGAIN}.")


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(.*\.)?({pattern})$")


def _by_pattern(patterns: Mapping[str, T], module: str, default: T) -> T:
    """PEFT's rule: the first pattern that matches the module's name, or its end from a dot on."""
    for pattern, value in patterns.items():
        if _compiled(pattern).match(module):
            return value
    return default
