"""A LoRA adapter and its base as one checkpoint: which tensor comes from where, and which rows of
which weight an adapted module is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from imp_deploy.convert.adapter import Adapter
from imp_deploy.convert.families import FAMILIES
from imp_deploy.convert.families.base import Config, Dimensions, Family, Naming
from imp_deploy.convert.low_rank import LowRank, Part
from imp_deploy.convert.mapping import Cures, in_file_order
from imp_deploy.convert.rules import size
from imp_deploy.convert.tensor import Tensor
from imp_deploy.convert.towers.base import detect_prefix
from imp_deploy.errors import BadInput

Parts = Mapping[str, tuple[Part, ...]]


@dataclass(frozen=True)
class Merged:
    """`tensors`: the base's, and those of the adapter that replace or complete them, all in the
    base's naming. `parts`: what is added to which of them; `whole`: the names of those that are the
    adapter's."""

    tensors: Mapping[str, Tensor]
    parts: Parts
    whole: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Rows:
    """So many rows of a tensor of the GGUF, under the name that it has where nothing is fused."""

    target: str
    count: int


def require_settings(base: Config, adapter: Adapter, folder: Path) -> None:
    """That one of the two says what the multimodal model is."""
    plain = [kind for family in FAMILIES for kind in family.base_types]
    if adapter.config is None and base.get("model_type") in plain:
        raise BadInput(
            f"{adapter.folder} has no config.json, and its base {folder} is a language model "
            "alone; put the config.json there that the training code saved with the adapter."
        )


def check_base(family: Family, base: Config, adapter: Adapter, folder: Path) -> None:
    """That the base is the family's language model, alone or with tower and projector."""
    kind = base.get("model_type")
    if kind not in family.base_types + family.model_types:
        raise BadInput(
            f"{folder} is a model of type {kind!r} and the adapter {adapter.folder} is one for "
            f"{family.name}; {give_its_base(adapter)}."
        )


def merge(
    adapter: Adapter,
    family: Family,
    dimensions: Dimensions,
    naming: Naming,
    base: Mapping[str, Tensor],
    folder: Path,
) -> Merged:
    """`naming`: the base's, whose files are in `folder`."""
    own = _places(naming, dimensions)
    every = {k: v for n in family.namings for k, v in _places(n, dimensions).items()} | own
    places = _Places(family, naming, base, own, every)
    tensors = dict(base)
    whole: set[str] = set()
    for name, tensor in adapter.whole.items():
        renamed = places.ours(name)
        if renamed not in tensors and renamed in every and renamed not in own:
            raise BadInput(
                f"{adapter.folder} holds {name} as a whole, and in {folder} it is a part of "
                f"another tensor, or in parts; {give_its_base(adapter)} under the same names."
            )
        if renamed in whole:
            raise BadInput(
                f"{adapter.folder} holds {renamed} under two names; save the adapter again."
            )
        tensors[renamed] = replace(tensor, name=renamed)
        whole.add(renamed)
    parts: dict[str, list[Part]] = {}
    for low_rank in adapter.modules.values():
        for name, part in _parts(low_rank, tensors, places, adapter, folder):
            if any(_overlap(part, other) for other in parts.get(name, ())):
                raise BadInput(
                    f"{adapter.folder} adapts the rows of {name} twice, once as "
                    f"{low_rank.module}; save the adapter again."
                )
            parts.setdefault(name, []).append(part)
    # In the order of the rows, whatever that of the adapter's file: the weights' hash is over both.
    ordered = {name: tuple(sorted(found, key=_place)) for name, found in parts.items()}
    return Merged(tensors, ordered, frozenset(whole))


def _place(part: Part) -> tuple[int, int]:
    return part.first, part.start


def check_used(merged: Merged, used: Iterable[str], ignored: Iterable[str], where: Path) -> None:
    """That the adapter changes nothing but what is exported or left out of every export."""
    lost = sorted((merged.whole | merged.parts.keys()) - set(used) - set(ignored))
    if lost:
        raise BadInput(
            f"{where} trains {len(lost)} tensors that no part of the exported model is made of "
            f"(the first is {lost[0]}); give the adapter and the config.json that belong together."
        )


def _places(naming: Naming, dimensions: Dimensions) -> dict[str, tuple[_Rows, ...]]:
    """For every tensor of the language model the rows that it consists of."""
    found = {}
    for rule in in_file_order(naming.rules, dimensions.layers):
        terms = rule.shape[0].split("+")
        fused = rule.target.split("attn_qkv")
        names = (
            [f"{fused[0]}attn_{letter}{fused[1]}" for letter in "qkv"]
            if len(fused) == 2 and len(terms) == 3
            else [rule.target]
        )
        counts = terms if len(names) == 3 else [rule.shape[0]]
        found[rule.source] = tuple(
            _Rows(name, size(term, dimensions.sizes))
            for name, term in zip(names, counts, strict=True)
        )
    return found


@dataclass(frozen=True)
class _Places:
    """Which tensor is which in the naming of the base: `own` by the base's names, `every` by those
    of all namings of the family."""

    family: Family
    naming: Naming
    base: Mapping[str, Tensor]
    own: Mapping[str, tuple[_Rows, ...]]
    every: Mapping[str, tuple[_Rows, ...]]

    def ours(self, name: str) -> str:
        """A tensor's name in the base's naming; itself where it has no other."""
        if name in self.base or name in self.own:
            return name
        found = detect_prefix(self.base, self.naming.tower)
        tower = self.naming.tower[0] if found is None else found.removesuffix(".")
        for other in self.family.namings:
            for prefix, ours in (
                (other.projector, self.naming.projector),
                *((place, tower) for place in other.tower),
            ):
                if name.startswith(f"{prefix}."):
                    return ours + name.removeprefix(prefix)
        rows = self.every.get(name)
        return next((source for source, place in self.own.items() if place == rows), name)

    def split(self, low_rank: LowRank) -> list[tuple[str, Part]]:
        """For a module that is fused in the adapter and split in the base, or the other way
        round."""
        found = []
        start = 0
        for rows in self.every.get(f"{low_rank.module}.weight", ()):
            for source, place in self.own.items():
                if rows in place:
                    first = sum(r.count for r in place[: place.index(rows)])
                    found.append((source, Part(low_rank, first, start, rows.count)))
            start += rows.count
        return found


def _overlap(one: Part, other: Part) -> bool:
    return one.first < other.first + other.count and other.first < one.first + one.count


def _parts(
    low_rank: LowRank,
    tensors: Mapping[str, Tensor],
    places: _Places,
    adapter: Adapter,
    folder: Path,
) -> list[tuple[str, Part]]:
    """The base's tensors that one adapted module changes."""
    name = places.ours(f"{low_rank.module}.weight")
    rows, columns = low_rank.b.shape[0], low_rank.a.shape[1]
    if name in tensors:
        found = [(name, Part(low_rank, 0, 0, rows))]
        fits = tensors[name].shape == (rows, columns)
    else:
        found = places.split(low_rank)
        fits = sum(part.count for _, part in found) == rows and all(
            n in tensors and tensors[n].columns == columns for n, _ in found
        )
    if not found and any(name.startswith(f"{p}.") for p in places.naming.tower):
        raise BadInput(
            f"{adapter.folder} adapts {low_rank.module} of the vision tower, which is in none of "
            f"its files and not in {folder}; give a base that holds the tower."
        )
    if not found:
        raise BadInput(
            f"{adapter.folder} adapts {low_rank.module}, and {folder} has no such module; "
            f"{give_its_base(adapter)}, because this is another architecture."
        )
    if not fits:
        there = [list(tensors[n].shape) if n in tensors else "missing" for n, _ in found]
        raise BadInput(
            f"{adapter.folder} adapts {low_rank.module} as a matrix of {rows} x {columns}, and in "
            f"{folder} it is {', '.join(map(str, there))}; {give_its_base(adapter)}."
        )
    return found


def language_cures(adapter: Adapter) -> Cures:
    """Of a base that does not fit."""
    cure = give_its_base(adapter)
    return Cures(shape=cure, missing=cure, naming=cure, left_over=cure)


def vision_cures(adapter: Adapter) -> Cures:
    """Of a projector and a tower that nobody has, or has of another size."""
    return Cures(
        shape=give_its_base(adapter),
        missing="put the training's non_lora_trainables.bin beside the adapter, or give a base "
        "that holds them",
    )


def give_its_base(adapter: Adapter) -> str:
    """The cure of every mismatch between an adapter and its base."""
    name = f" ({adapter.base_name})" if adapter.base_name else ""
    return f"give the base that the adapter was trained on{name}"
