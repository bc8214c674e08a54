"""Every tensor of a checkpoint is mapped, or ignored by name; anything else is an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.convert.families.base import Config, Dimensions, Family, Naming, Rule
from imp_deploy.convert.tensor import ELEMENT_BYTES, Tensor
from imp_deploy.convert.tower import (
    SEPARATE_IGNORED,
    Tower,
    detect_tower_prefix,
    projector_rules,
    tower_ignored,
    tower_rules,
    tower_sizes,
)
from imp_deploy.errors import BadInput


@dataclass(frozen=True)
class Mapped:
    """A checkpoint's tensor and its name in the GGUF."""

    source: Tensor
    target: str


def naming_of(family: Family, tensors: Mapping[str, Tensor], folder: Path) -> Naming:
    for naming in family.namings:
        if naming.marker in tensors:
            return naming
    raise BadInput(
        f"{folder} names its tensors in no way that {family.name} is known by (it lacks "
        f"{' and '.join(n.marker for n in family.namings)}); check that this is the whole "
        "checkpoint and not a LoRA adapter."
    )


def map_language_model(
    naming: Naming,
    dimensions: Dimensions,
    config: Config,
    tensors: Mapping[str, Tensor],
    folder: Path,
) -> tuple[tuple[Mapped, ...], set[str]]:
    """The LLM's tensors in file order, and the names that this used up."""
    tied = config.get("tie_word_embeddings") is True
    rules = [rule for rule in naming.rules if not (rule.optional and tied)]
    mapped = _apply(rules, dimensions.layers, dimensions.size, tensors, folder)
    # A tied head may be stored all the same; the model uses the embedding table.
    unused = {rule.source for rule in naming.rules if rule.optional and tied}
    return mapped, {m.source.name for m in mapped} | (unused & set(tensors))


def map_vision(
    naming: Naming,
    tower: Tower,
    dimensions: Dimensions,
    tensors: Mapping[str, Tensor],
    separate: Mapping[str, Tensor] | None,
    folder: Path,
) -> tuple[tuple[Mapped, ...], set[str]]:
    """Tower and projector in file order, and the checkpoint's names that this used up."""
    if separate is not None and detect_tower_prefix(tensors, naming.tower) is not None:
        raise BadInput(
            f"{folder} holds its own vision tower; leave out --vision-tower, or remove the tower "
            "from the checkpoint."
        )
    home = tensors if separate is None else separate
    place = folder if separate is None else _folder_of(separate)
    prefix = detect_tower_prefix(home, naming.tower)
    if prefix is None:
        raise BadInput(
            f"{place} holds no vision tower; give the folder of the one that it was trained with "
            "(for Imp: google/siglip-so400m-patch14-384) with --vision-tower."
        )
    sizes = tower_sizes(tower)
    _check_layer_count(prefix, tower, home, place)
    blocks = _apply(tower_rules(prefix), tower.used, sizes.__getitem__, home, place)
    widths = {"vision": tower.hidden, "hidden": dimensions.hidden}
    projector = _apply(projector_rules(naming.projector), 0, widths.__getitem__, tensors, folder)
    ignored = tower_ignored(prefix, tower)
    if separate is not None:
        _check_left_over(separate, {m.source.name for m in blocks}, ignored + SEPARATE_IGNORED)
        return blocks + projector, {m.source.name for m in projector}
    used = {m.source.name for m in blocks + projector}
    return blocks + projector, used | {n for n in tensors if _matches(n, ignored)}


def _folder_of(tensors: Mapping[str, Tensor]) -> Path:
    return next(iter(tensors.values())).path.parent


def check_left_over(tensors: Mapping[str, Tensor], used: set[str], naming: Naming) -> None:
    _check_left_over(tensors, used, naming.ignored)


def _check_left_over(tensors: Mapping[str, Tensor], used: set[str], ignored: Sequence[str]) -> None:
    left = sorted(n for n in tensors if n not in used and not _matches(n, ignored))
    if left:
        first = tensors[left[0]]
        raise BadInput(
            f"{first.path} holds tensors that no rule knows ({len(left)} in all, the first is "
            f"{left[0]} {list(first.shape)}); export a whole Imp checkpoint, because this is "
            "another architecture or a LoRA adapter."
        )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _check_layer_count(
    prefix: str, tower: Tower, tensors: Mapping[str, Tensor], folder: Path
) -> None:
    """All layers, or just those that are used: anything else contradicts the configuration."""
    found = {
        int(match[1])
        for name in tensors
        if (match := re.match(re.escape(prefix) + r"encoder\.layers\.([0-9]{1,6})\.", name))
    }
    if found and max(found) + 1 not in (tower.used, tower.layers):
        raise BadInput(
            f"{folder}: the vision tower holds {max(found) + 1} layers, and its configuration "
            f"says {tower.layers} of which {tower.used} are used; download the checkpoint again."
        )


def _apply(
    rules: Sequence[Rule],
    layers: int,
    size: Callable[[str], int],
    tensors: Mapping[str, Tensor],
    folder: Path,
) -> tuple[Mapped, ...]:
    mapped: list[Mapped] = []
    missing: list[str] = []
    for rule in _in_file_order(rules, layers):
        tensor = tensors.get(rule.source)
        if tensor is None:
            missing.append(rule.source)
            continue
        shape = tuple(size(term) for term in rule.shape)
        _check_tensor(tensor, shape)
        mapped.append(Mapped(tensor, rule.target))
    if missing:
        raise BadInput(
            f"{folder} lacks tensors ({len(missing)} in all, the first is {missing[0]}); download "
            "the checkpoint again, or compare its config.json with the weights."
        )
    return tuple(mapped)


def _in_file_order(rules: Sequence[Rule], layers: int) -> list[Rule]:
    """The rules with their layers filled in: layer by layer, the others where they stand."""
    ordered: list[Rule] = []
    per_layer = [rule for rule in rules if "{i}" in rule.source]
    for rule in rules:
        if rule in per_layer:
            if rule is per_layer[0]:
                ordered += [
                    Rule(
                        source=inner.source.replace("{i}", str(i)),
                        target=inner.target.replace("{i}", str(i)),
                        shape=inner.shape,
                    )
                    for i in range(layers)
                    for inner in per_layer
                ]
        else:
            ordered.append(rule)
    return ordered


def _check_tensor(tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise BadInput(
            f"{tensor.path}: the tensor {tensor.name} has shape {list(tensor.shape)} and "
            f"config.json asks for {list(shape)}; download config and weights again."
        )
    if tensor.dtype not in ELEMENT_BYTES:
        raise BadInput(
            f"{tensor.path}: the tensor {tensor.name} has type {tensor.dtype}; save the "
            f"checkpoint as one of {', '.join(ELEMENT_BYTES)}."
        )
