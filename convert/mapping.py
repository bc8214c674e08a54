"""Every tensor of a checkpoint is mapped, or ignored by name; anything else is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imp_deploy.convert.families.base import Config, Dimensions, Family, Naming
from imp_deploy.convert.low_rank import Part
from imp_deploy.convert.projectors import Projector
from imp_deploy.convert.projectors import sizes as projector_sizes
from imp_deploy.convert.rules import Rule, size
from imp_deploy.convert.tensor import ELEMENT_BYTES, Tensor
from imp_deploy.convert.towers.base import Tower, detect_prefix, unused_patterns
from imp_deploy.errors import BadInput


@dataclass(frozen=True)
class Cures:
    """What helps against a tensor of a wrong shape, one that is missing, names that are
    not known, and a tensor too many."""

    shape: str = "download config and weights again"
    missing: str = "download the checkpoint again, or compare its config.json with the weights"
    naming: str = "check that this is the whole checkpoint and not a LoRA adapter"
    left_over: str = (
        "export a whole checkpoint of a supported model (`imp-deploy export --list`), because this "
        "is another architecture"
    )


CHECKPOINT = Cures()


@dataclass(frozen=True)
class Mapped:
    """A checkpoint's tensor, in the shape that it has in the GGUF, and its name there. `heads`: see
    `Rule.rotary`; 0 for rows that stay in order. `inner`: the axis along which it is as long as the
    FFN is wide, if there is one. `parts`: what a LoRA adapter adds to it."""

    source: Tensor
    target: str
    heads: int = 0
    inner: int | None = None
    parts: tuple[Part, ...] = ()


def naming_of(
    family: Family, tensors: Mapping[str, Tensor], folder: Path, cures: Cures = CHECKPOINT
) -> Naming:
    for naming in family.namings:
        if naming.marker in tensors:
            return naming
    raise BadInput(
        f"{folder} names its tensors in no way that {family.name} is known by (it lacks "
        f"{' and '.join(n.marker for n in family.namings)}); {cures.naming}."
    )


def map_language_model(
    naming: Naming,
    dimensions: Dimensions,
    config: Config,
    tensors: Mapping[str, Tensor],
    folder: Path,
    cures: Cures = CHECKPOINT,
) -> tuple[tuple[Mapped, ...], set[str]]:
    """The LLM's tensors in file order, and the names that this used up."""
    tied = config.get("tie_word_embeddings") is True
    rules = [rule for rule in naming.rules if not (rule.optional and tied)]
    mapped = _apply(rules, dimensions.layers, dimensions.sizes, tensors, folder, cures)
    # A tied head may be stored all the same; the model uses the embedding table.
    unused = {rule.source for rule in naming.rules if rule.optional and tied}
    return mapped, {m.source.name for m in mapped} | (unused & set(tensors))


def map_vision(
    naming: Naming,
    tower: Tower,
    projector: Projector,
    dimensions: Dimensions,
    tensors: Mapping[str, Tensor],
    separate: Mapping[str, Tensor] | None,
    folder: Path,
    cures: Cures = CHECKPOINT,
) -> tuple[tuple[Mapped, ...], set[str]]:
    """Tower and projector in file order, and the checkpoint's names that this used up."""
    if separate is not None and detect_prefix(tensors, naming.tower) is not None:
        raise BadInput(
            f"{folder} holds its own vision tower; leave out --vision-tower, or remove the tower "
            "from the checkpoint."
        )
    home = tensors if separate is None else separate
    place = folder if separate is None else _folder_of(separate)
    prefix = detect_prefix(home, naming.tower)
    if prefix is None:
        raise BadInput(
            f"{place} holds no vision tower; give the folder of the one that it was trained with "
            f"({tower.kind.example}, or a copy that was fine-tuned) with --vision-tower."
        )
    if projector.grid not in (None, tower.grid):
        raise BadInput(
            f"{folder}: the projector {projector.name} takes {projector.grid} x {projector.grid} "
            f"patches and the vision tower gives {tower.grid} x {tower.grid}; give the tower that "
            f"this checkpoint was trained with ({tower.kind.example})."
        )
    _check_layer_count(prefix, tower, home, place)
    blocks = _apply(_under(prefix, tower.kind.rules), tower.used, tower.sizes, home, place)
    rules = _under(naming.projector, projector.rules)
    _check_width(rules, tower, dimensions, tensors)
    sizes = projector_sizes(tower.hidden, dimensions.hidden)
    projected = _apply(rules, 0, sizes, tensors, folder, cures)
    ignored = unused_patterns(prefix, tower)
    if separate is not None:
        apart = ignored + tower.kind.unused_apart
        check_left_over(separate, {m.source.name for m in blocks}, apart)
        return blocks + projected, {m.source.name for m in projected}
    used = {m.source.name for m in blocks + projected}
    return blocks + projected, used | {n for n in tensors if _matches(n, ignored)}


def _folder_of(tensors: Mapping[str, Tensor]) -> Path:
    return next(iter(tensors.values())).path.parent


def _under(prefix: str, rules: Sequence[Rule]) -> list[Rule]:
    return [replace(rule, source=rule.source.replace("{p}", prefix)) for rule in rules]


def _check_width(
    rules: Sequence[Rule], tower: Tower, dimensions: Dimensions, tensors: Mapping[str, Tensor]
) -> None:
    """That the projector takes what the tower gives: the likeliest mistake with a separate one."""
    for rule in rules:
        tensor = tensors.get(rule.source)
        if tensor is None or rule.shape != ("hidden", "vision"):
            continue
        if tensor.shape[:1] == (dimensions.hidden,) and tensor.columns != tower.hidden:
            raise BadInput(
                f"{tensor.path}: the projector takes features {tensor.columns} wide and the vision "
                f"tower's are {tower.hidden}; give the tower that this checkpoint was trained with."
            )


def check_left_over(
    tensors: Mapping[str, Tensor],
    used: set[str],
    ignored: Sequence[str],
    cures: Cures = CHECKPOINT,
) -> None:
    """`ignored`: regular expressions of tensors that may be left over."""
    left = sorted(n for n in tensors if n not in used and not _matches(n, ignored))
    if left:
        first = tensors[left[0]]
        raise BadInput(
            f"{first.path} holds tensors that no rule knows ({len(left)} in all, the first is "
            f"{left[0]} {list(first.shape)}); {cures.left_over}."
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
    sizes: Mapping[str, int],
    tensors: Mapping[str, Tensor],
    folder: Path,
    cures: Cures = CHECKPOINT,
) -> tuple[Mapped, ...]:
    mapped: list[Mapped] = []
    missing: list[str] = []
    for rule in in_file_order(rules, layers):
        tensor = tensors.get(rule.source)
        if tensor is None:
            missing.append(rule.source)
            continue
        _check_tensor(tensor, tuple(size(term, sizes) for term in rule.shape), cures)
        terms = rule.stored or rule.shape
        shape = tuple(size(term, sizes) for term in terms)
        heads = size(rule.rotary, sizes) if rule.rotary else 0
        inner = terms.index("inner") if "inner" in terms else None
        mapped.append(Mapped(replace(tensor, shape=shape), rule.target, heads, inner))
    if missing:
        raise BadInput(
            f"{folder} lacks tensors ({len(missing)} in all, the first is {missing[0]}); "
            f"{cures.missing}."
        )
    return tuple(mapped)


def in_file_order(rules: Sequence[Rule], layers: int) -> list[Rule]:
    """The rules with their layers filled in: layer by layer, the others where they stand."""
    ordered: list[Rule] = []
    per_layer = [rule for rule in rules if "{i}" in rule.source]
    for rule in rules:
        if rule in per_layer:
            if rule is per_layer[0]:
                ordered += [_in_layer(inner, i) for i in range(layers) for inner in per_layer]
        else:
            ordered.append(rule)
    return ordered


def _in_layer(rule: Rule, i: int) -> Rule:
    return replace(
        rule,
        source=rule.source.replace("{i}", str(i)),
        target=rule.target.replace("{i}", str(i)),
    )


def _check_tensor(tensor: Tensor, shape: tuple[int, ...], cures: Cures) -> None:
    if tensor.shape != shape:
        raise BadInput(
            f"{tensor.path}: the tensor {tensor.name} has shape {list(tensor.shape)} and "
            f"config.json asks for {list(shape)}; {cures.shape}."
        )
    if tensor.dtype not in ELEMENT_BYTES:
        raise BadInput(
            f"{tensor.path}: the tensor {tensor.name} has type {tensor.dtype}; save the "
            f"checkpoint as one of {', '.join(ELEMENT_BYTES)}."
        )
