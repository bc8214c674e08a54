"""LoRA folders as the training code writes them: an adapter, a projector, and a config."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tests.checkpoints.configs import hf_config, whole_config
from tests.checkpoints.layouts import HF, language_of, named
from tests.checkpoints.make import tower_of
from tests.checkpoints.projector import projector as random_projector
from tests.checkpoints.stored import read_weights, save, stored_as, write_json
from tests.checkpoints.values import (
    Dtype,
    Family,
    Naming,
    Random,
    Sizes,
    Weights,
    check_naming,
    is_clip,
    rounded,
)
from tests.checkpoints.vision import tower as random_tower
from tests.checkpoints.vision import tower_config, write_tower

if TYPE_CHECKING:
    from torch import Tensor

    from tests.checkpoints.values import State

PREFIX = "base_model.model."
EMBEDDINGS = ("embed_tokens", "wte")
IMP_IMAGE = 40  # `<image>` is this far behind Phi-2's `<|endoftext|>`: 50296
CHANGE = 0.6  # of a unit input's output, where the weights of the base have 1.5 to 2


def make_lora(
    out: Path,
    base: Path,
    *,
    family: Family,
    naming: Naming,
    targets: Sequence[str] | None = None,
    rank: int = 8,
    alpha: float = 16,
    rslora: bool = False,
    rank_pattern: Mapping[str, int] | None = None,
    alpha_pattern: Mapping[str, float] | None = None,
    weights: Weights = "safetensors",
    dtype: Dtype = "f16",
    keys: Literal["peft", "default"] = "peft",
    projector: bool = True,
    tower: Literal["inside", "separate"] | None = None,
    modules_to_save: Sequence[str] = (),
    sizes: Sizes | None = None,
    image_size: int | None = None,
    seed: int = 0,
) -> Path:
    """Writes an adapter for `base` (of `make_plain` or `make_checkpoint`) into `out`; returns it.

    `naming` is the adapter's; the base may have the other one. `targets`: the last parts of module
    names, as PEFT takes them; none: every linear layer of the language model's blocks. The patterns
    are PEFT's: the end of a module's name, or a regular expression for it. B is not zero, and the
    merged model answers differently. `projector` puts one of its own into non_lora_trainables.bin;
    `tower` `inside` puts a tower there too, `separate` writes one to `tower_of(out)`, and None
    leaves it to the base, or to a hub id. `modules_to_save` are whole modules that were trained
    (`lm_head`, `embed_tokens`, `mm_projector`); the latter then stands in the adapter's file alone.
    `sizes` and `image_size` must be those of the base.
    """
    check_naming(family, naming)
    if tower == "separate" and naming in HF:
        raise ValueError(f"{naming} naming always holds the tower")
    sizes = sizes or Sizes()
    image_size = image_size or (336 if is_clip(family) else 384)
    rng = Random(seed).fork("lora")
    text = language_of(read_weights(base))
    rows, hidden = text["model.embed_tokens.weight"].shape
    if hidden != sizes.hidden or f"model.layers.{sizes.layers}.input_layernorm.weight" in text:
        raise ValueError(f"{base} has other sizes")
    llm = named(naming, text, {}, {})
    new = (
        random_projector(family, sizes, rng)
        if projector or "mm_projector" in modules_to_save
        else {}
    )
    whole_tower = random_tower(family, sizes, image_size, rng) if tower else {}
    rest = named(naming, {}, new, whole_tower if tower == "inside" else {})

    modules = _targets(llm, targets)
    settings = _settings(base, modules, targets, rank, alpha, rslora, modules_to_save)
    settings |= {
        "rank_pattern": dict(rank_pattern or {}),
        "alpha_pattern": dict(alpha_pattern or {}),
    }
    adapter: State = {}
    for module in modules:
        shape = llm[f"{module}.weight"].shape
        own_rank = _pattern(settings["rank_pattern"], module, rank)
        own_alpha = _pattern(settings["alpha_pattern"], module, alpha)
        scale = own_alpha / (math.sqrt(own_rank) if rslora else own_rank)
        down, up = _low_rank(module, shape, own_rank, scale, rng)
        end = "" if keys == "peft" else ".default"
        adapter |= {f"{PREFIX}{module}.lora_A{end}.weight": down}
        adapter |= {f"{PREFIX}{module}.lora_B{end}.weight": up}
    saved = {k: v for k, v in (llm | rest).items() if _within(k, modules_to_save)}
    adapter |= {
        f"{PREFIX}{name}": value if name in rest else _changed(name, value, rng)
        for name, value in saved.items()
    }

    out.mkdir(parents=True, exist_ok=True)
    ending = "safetensors" if weights == "safetensors" else "bin"
    save(out / f"adapter_model.{ending}", stored_as(adapter, dtype))
    write_json(out / "adapter_config.json", settings)
    others = {f"{PREFIX}{k}": v for k, v in rest.items() if k not in saved}
    if others:
        save(out / "non_lora_trainables.bin", stored_as(others, dtype))
    config = _config(base, family, naming, sizes, image_size, rows, dtype)
    if tower == "inside" and naming not in HF:
        config["vision_tower_config"] = tower_config(family, sizes, image_size)
    if tower == "separate":
        folder = tower_of(out)
        fork = rng.fork("text")
        write_tower(folder, family, whole_tower, sizes, image_size, fork, weights, dtype)
        config["mm_vision_tower"] = str(folder.resolve())
    write_json(out / "config.json", config)
    return out


def _targets(llm: State, targets: Sequence[str] | None) -> list[str]:
    """The modules that get an adapter; embeddings are no linear layers."""
    linear = [
        name.removesuffix(".weight")
        for name, tensor in llm.items()
        if name.endswith(".weight") and tensor.ndim == 2 and name.split(".")[-2] not in EMBEDDINGS
    ]
    if targets is None:
        return [name for name in linear if re.search(r"\.\d+\.", name)]
    found = [name for name in linear if _within(f"{name}.", targets)]
    if missing := [
        target for target in targets if not any(_within(f"{n}.", [target]) for n in found)
    ]:
        raise ValueError(f"no linear layers {missing}")
    return found


def _within(name: str, modules: Sequence[str]) -> bool:
    """Whether the tensor `name` belongs to one of the modules, named by the end of their names."""
    return any(f".{module}." in f".{name}" for module in modules)


def _pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that is the module's name or, behind a dot, its end."""
    matching = (v for k, v in patterns.items() if re.match(rf"(.*\.)?({k})$", module))
    return next(matching, default)


def _low_rank(
    module: str, shape: Sequence[int], rank: int, scale: float, rng: Random
) -> tuple[Tensor, Tensor]:
    """A [rank, inputs] and B [outputs, rank]: `scale` B A x has deviation CHANGE for unit x."""
    outputs, inputs = shape
    down = rng.normal(f"{module}.A", rank, inputs, std=1 / math.sqrt(inputs))
    up = rng.normal(f"{module}.B", outputs, rank, std=CHANGE / (scale * math.sqrt(rank)))
    return down, up


def _changed(name: str, value: Tensor, rng: Random) -> Tensor:
    """As if trained on; zeros stay zeros, so that silent tokens stay silent."""
    noise = rng.normal(f"{name}.change", *value.shape, std=0.3 * float(value.std()))
    return rounded(value + noise * (value != 0))


def _settings(
    base: Path,
    modules: list[str],
    targets: Sequence[str] | None,
    rank: int,
    alpha: float,
    rslora: bool,
    modules_to_save: Sequence[str],
) -> dict[str, Any]:
    last = sorted({module.rpartition(".")[2] for module in modules})
    return {
        "alpha_pattern": {},
        "auto_mapping": None,
        "base_model_name_or_path": str(base),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": alpha,
        "lora_dropout": 0.05,
        "modules_to_save": list(modules_to_save) or None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {},
        "revision": None,
        "target_modules": last if targets is None else list(targets),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": rslora,
    }


def _config(
    base: Path,
    family: Family,
    naming: Naming,
    sizes: Sizes,
    image_size: int,
    rows: int,
    dtype: Dtype,
) -> dict[str, Any]:
    """The multimodal model's, with what the base knows of its tokens and its tower."""
    known = json.loads((base / "config.json").read_text("utf-8"))
    if naming in HF:
        image = known["image_token_index"]
        return hf_config(naming, sizes, image_size, rows, dtype, image=image)
    eos = known["eos_token_id"]
    image = eos + IMP_IMAGE if family == "phi2" else None
    aspect = known.get("image_aspect_ratio", "pad" if is_clip(family) else "square")
    config = whole_config(family, naming, sizes, rows, dtype, eos=eos, image=image, aspect=aspect)
    about_tower = ("mm_vision_tower", "vision_tower_config")
    return config | {key: known[key] for key in about_tower if key in known}
