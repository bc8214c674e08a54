"""LoRA folders of the training code: the base's weights with the adapter added and with everything
that was trained besides it put in its place."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imp_deploy.convert.reference.names import Part, Widths, places
from imp_deploy.convert.reference.weights import read_file
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

CONFIG = "adapter_config.json"
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_OTHERS = "non_lora_trainables.bin"
_PREFIX = "base_model.model."
# PEFT's files leave the adapter's name out (mostly `default`), the training code's may hold it.
_LOW_RANK = re.compile(r"(.*)\.lora_([AB])(?:\.[^.]+)?\.weight$")
# What PEFT puts around a module that it wraps, and leaves in some names; and its copy of what was
# there before.
_WRAPPING = re.compile(r"\.(base_layer|modules_to_save(\.(?!weight$|bias$)[^.]+)?)(?=\.)")
_COPY = ".original_module."
# The training code also takes names with half of PEFT's prefix.
_HALF = re.compile(r"model\.(?=model\.|transformer\.|lm_head\.)")


@dataclass(frozen=True, eq=False)
class LowRank:
    """scale * up @ down is added to the weight of `module`."""

    module: str  # in the adapter's own naming
    down: Tensor  # A: [rank, columns]
    up: Tensor  # B: [rows, rank]
    scale: float


@dataclass(frozen=True, eq=False)
class Lora:
    folder: Path
    changes: list[LowRank]
    replaced: State  # whole tensors, in the folder's own naming


def read_lora(folder: Path) -> Lora:
    """Raises `BadInput` for anything that is no LoRA of linear layers, or of another rank than
    stated."""
    config = read_json_object(folder / CONFIG)
    where = str(folder / CONFIG)
    if config.get("peft_type", "LORA") != "LORA":
        raise BadInput(
            f"{where} is of type {config['peft_type']!r}, and LORA is supported; merge it with "
            "PEFT first."
        )
    file = next((folder / name for name in _ADAPTERS if (folder / name).is_file()), None)
    if file is None:
        raise BadInput(f"{folder} has no {' and no '.join(_ADAPTERS)}; download it again.")
    stored = read_file(file)
    others = folder / _OTHERS
    replaced = dict(_whole(read_file(others).items() if others.is_file() else (), others))
    # Biases and `modules_to_save` stand in the adapter's file, and win.
    whole = ((k, v) for k, v in stored.items() if not _LOW_RANK.match(k))
    replaced |= dict(_whole(whole, file))
    return Lora(folder, list(_changes(stored, config, file, where)), replaced)


def merge(parts: dict[Part, State], lora: Lora, widths: Widths) -> None:
    """Changes `parts` (of `names.split_parts`): float32 where a weight is added to. Every tensor
    of the folder is used, or it is `BadInput`."""
    folder = str(lora.folder)
    for name, tensor in lora.replaced.items():
        for part, place, piece in places(name, tensor, widths, folder):
            # A base without projector or tower gets them here.
            if part == "language" and place not in parts[part]:
                raise _misfit(name, None, tuple(piece.shape), folder)
            parts[part][place] = piece
    for change in lora.changes:
        name = f"{change.module}.weight"
        for part, place, rows in places(name, change.up, widths, folder):
            shape = (rows.shape[0], change.down.shape[1])
            old = parts[part].get(place)
            if old is None or old.shape != shape:
                raise _misfit(name, old, shape, folder)
            added = (rows.float() @ change.down.float()) * change.scale
            parts[part][place] = old.float() + added


def _misfit(name: str, old: Tensor | None, shape: tuple[int, ...], folder: str) -> BadInput:
    there = "no such tensor" if old is None else f"one of shape {tuple(old.shape)}"
    return BadInput(
        f"{folder} changes {name} of shape {shape}, and the base has {there}; give the model that "
        "it was trained on as --base."
    )


def _changes(stored: State, config: dict[str, Any], file: Path, where: str) -> Iterator[LowRank]:
    pairs: dict[str, State] = {}
    for name, tensor in stored.items():
        if match := _LOW_RANK.match(name):
            pair = pairs.setdefault(match[1].removeprefix(_PREFIX), {})
            if match[2] in pair:
                raise BadInput(f"{file} holds {name} under two names; download it again.")
            pair[match[2]] = tensor
    if not pairs:
        raise BadInput(f"{file} holds no LoRA tensors; check that it is the adapter's.")
    for module, pair in pairs.items():
        rank = _stated(module, config, "rank_pattern", "r", where)
        alpha = _stated(module, config, "alpha_pattern", "lora_alpha", where)
        if pair.keys() != {"A", "B"}:
            raise BadInput(f"{file} holds one half of {module}'s LoRA; download it again.")
        down, up = pair["A"], pair["B"]
        if down.ndim != 2 or up.ndim != 2 or (down.shape[0], up.shape[1]) != (rank, rank):
            raise BadInput(
                f"{file}: {module} has A {tuple(down.shape)} and B {tuple(up.shape)}, and "
                f"{where} says rank {rank:g}; check that both files belong together."
            )
        scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
        yield LowRank(module, down, up, scale)


def _stated(module: str, config: dict[str, Any], patterns: str, key: str, where: str) -> float:
    """A pattern fits the end of a module's path, from a dot or the start on; the first one wins."""
    value: Any = config.get(key)
    for pattern, own in (config.get(patterns) or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            value = own
            break
    if not isinstance(value, int | float) or value <= 0:
        raise BadInput(f"{where} gives {module} {key} {value!r}; download it again.")
    return value


def _whole(tensors: Iterable[tuple[str, Tensor]], file: Path) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors:
        if ".lora_" in name:
            raise BadInput(
                f"{file} holds {name}, which is no LoRA of a linear layer; merge it with "
                "PEFT first."
            )
        if _COPY not in name:
            plain = _WRAPPING.sub("", name).removeprefix(_PREFIX)
            yield _HALF.sub("", plain, count=1) if _HALF.match(plain) else plain, tensor
