"""A LoRA folder, as PEFT and the training code write it: low-rank updates of a base model's
weights, and tensors that replace the base's or are added to it.

Only headers are read here; `low_rank.py` does the arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imp_deploy.convert.adapter_config import (
    MERGE,
    SAVE_AGAIN,
    AdapterConfig,
    read_adapter_config,
)
from imp_deploy.convert.checkpoint import ADAPTER_CONFIG, read_header
from imp_deploy.convert.low_rank import LowRank
from imp_deploy.convert.tensor import ELEMENT_BYTES, Tensor
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

# In PEFT's order: where both are there, the first is the one that it reads.
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
TRAINABLES = "non_lora_trainables.bin"

# PEFT wraps the model twice: PeftModel.base_model, and LoraModel.model.
_PEFT = "base_model.model."
_FACTOR = re.compile(r"(.+)\.lora_([AB])(?:\.([^.]+))?\.weight")
# Other things that PEFT trains beside or instead of A and B, and what they are called.
_OTHERS = (
    (r".+\.lora_[AB](\.[^.]+)?\.bias", "a bias of its own (lora_bias)"),
    (r".+\.lora_embedding_[AB](\.[^.]+)?", "an adapter of an embedding table"),
    (r".+\.lora_magnitude_vector(\..+)?", "DoRA's magnitudes"),
    (r".*trainable_tokens.*", "for single trained tokens"),
    (r".+\.lora_.+", "a part of a LoRA variant"),
)


@dataclass(frozen=True)
class Adapter:
    """`config`: the folder's own config.json, None where there is none; `base_name`: what the
    adapter says it was trained on. `modules`: by the module's name in the model. `whole`: tensors
    that replace the base's or are added, by their name in the model; a module may have both (PEFT
    saves a trained output head with its own base), then its update is added to the whole one."""

    folder: Path
    config: dict[str, Any] | None
    base_name: str | None
    modules: Mapping[str, LowRank]
    whole: Mapping[str, Tensor]
    weight_files: tuple[Path, ...]


def open_adapter(folder: Path) -> Adapter:
    """Reads configuration and tensor headers; every tensor is used, or an error names it.

    The training code loads non_lora_trainables.bin before the adapter, so where both hold a
    tensor (trained biases, modules_to_save), the adapter's is taken.
    """
    settings = read_adapter_config(folder / ADAPTER_CONFIG)
    weights = _weights(folder)
    modules, whole = _sort(weights, read_header(weights), settings)
    trainables = folder / TRAINABLES
    files = (weights, trainables) if trainables.is_file() else (weights,)
    if len(files) == 2:
        whole = _trainables(trainables) | whole
    config = folder / "config.json"
    return Adapter(
        folder,
        read_json_object(config) if config.is_file() else None,
        settings.base_name,
        modules,
        whole,
        files,
    )


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise BadInput(
        f"{folder} holds {ADAPTER_CONFIG} and no adapter weights ({' or '.join(WEIGHTS)}); finish "
        "the download, or copy the whole LoRA folder."
    )


def _sort(
    path: Path, tensors: Iterable[Tensor], settings: AdapterConfig
) -> tuple[dict[str, LowRank], dict[str, Tensor]]:
    """The modules with both matrices, and the whole tensors."""
    factors: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    whole: dict[str, Tensor] = {}
    again: dict[str, Tensor] = {}
    for tensor in tensors:
        if not tensor.name.startswith(_PEFT):
            raise BadInput(
                f"{path}: the tensor {tensor.name} does not begin with {_PEFT!r}, as PEFT's do; "
                f"{SAVE_AGAIN}."
            )
        _refuse_empty(tensor)
        name = tensor.name.removeprefix(_PEFT)
        if match := _FACTOR.fullmatch(name):
            _put(factors[match[2]], match[1], tensor)
        elif plain := _plain(tensor, name):
            # PEFT saves a bias of modules_to_save under both names.
            _put(again if ".modules_to_save." in name else whole, plain, tensor)
    if not factors["A"] and not factors["B"]:
        raise BadInput(f"{path} holds no LoRA matrices (lora_A, lora_B); {SAVE_AGAIN}.")
    for one, other in ("AB", "BA"):
        if alone := sorted(factors[one].keys() - factors[other].keys()):
            raise BadInput(
                f"{path} holds lora_{one} of {alone[0]} without its lora_{other} ({len(alone)} "
                f"such modules in all); {SAVE_AGAIN}."
            )
    pairs = ((module, a, factors["B"][module]) for module, a in factors["A"].items())
    return {module: _low_rank(module, a, b, settings) for module, a, b in pairs}, again | whole


def _put(known: dict[str, Tensor], name: str, tensor: Tensor) -> None:
    if name in known:
        raise BadInput(
            f"{tensor.path} holds {known[name].name} and {tensor.name}, which are the same tensor "
            f"of two adapters; {SAVE_AGAIN}, one adapter in one folder."
        )
    known[name] = tensor


def _plain(tensor: Tensor, name: str) -> str | None:
    """Its name in the model without PEFT's wrappers; None for the frozen copy that PEFT
    keeps beside a trained module."""
    for pattern, what in _OTHERS:
        if re.fullmatch(pattern, name):
            raise BadInput(
                f"{tensor.path}: the tensor {tensor.name} is {what}, and only plain LoRA is merged "
                f"here; {MERGE}."
            )
    if ".original_module." in name:
        return None
    # With the adapter's name behind it, or (biases, in PEFT's files) without one.
    name = re.sub(r"\.modules_to_save(?:\.(?!\d+\.)[^.]+(?=\.))?\.", ".", name)
    return name.replace(".base_layer.", ".")


def _low_rank(module: str, a: Tensor, b: Tensor, settings: AdapterConfig) -> LowRank:
    for tensor in (a, b):
        if len(tensor.shape) != 2 or tensor.dtype not in ELEMENT_BYTES:
            raise BadInput(
                f"{tensor.path}: the tensor {tensor.name} is {tensor.dtype} "
                f"{list(tensor.shape)}, and only matrices of {', '.join(ELEMENT_BYTES)} are merged "
                f"here; {MERGE}."
            )
    rank = settings.rank_of(module)
    if a.shape[0] != b.shape[1] or a.shape[0] != rank:
        raise BadInput(
            f"{a.path}: the rank of {module} is {a.shape[0]} in lora_A {list(a.shape)}, "
            f"{b.shape[1]} in lora_B {list(b.shape)} and {rank} in {ADAPTER_CONFIG}; use the "
            "configuration and the weights of one training."
        )
    return LowRank(module, a, b, settings.scale_of(module))


def _refuse_empty(tensor: Tensor) -> None:
    if 0 in tensor.shape:
        raise BadInput(
            f"{tensor.path}: the tensor {tensor.name} is empty ({list(tensor.shape)}), because it "
            "was saved while DeepSpeed or FSDP held it in parts; gather the parameters and save "
            "again."
        )


def _trainables(path: Path) -> dict[str, Tensor]:
    """The training code's file of everything trained beside the adapter, by the rule with which
    it loads that file: `base_model.` goes; then one `model.` where it is PEFT's."""
    tensors = {t.name.removeprefix("base_model."): t for t in read_header(path)}
    wrapped = ("model.model.", "model.transformer.", "model.lm_head.")
    strip = "model." if any(name.startswith(wrapped) for name in tensors) else ""
    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        _refuse_empty(tensor)
        if plain := _plain(tensor, name.removeprefix(strip)):
            _put(whole, plain, tensor)
    return whole
