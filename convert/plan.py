"""What an export will write: the files, and for every source tensor where its values go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imp_deploy.bundle import BundleFile, default_vision_bits
from imp_deploy.convert.importance import Array, read_importance
from imp_deploy.convert.layout import OutputFile, Slot, lay_out
from imp_deploy.convert.llm_file import Recipe, llm_file
from imp_deploy.convert.low_rank import Part
from imp_deploy.convert.mapping import Mapped
from imp_deploy.convert.mmproj import check_resolutions, mmproj_metadata
from imp_deploy.convert.model import Model
from imp_deploy.convert.overrides import Override
from imp_deploy.convert.quantization import TABLE, WEIGHTED, vision_type
from imp_deploy.convert.tensor import Tensor
from imp_deploy.convert.towers.base import POSITIONS


@dataclass(frozen=True, kw_only=True)
class Options:
    """`resolutions` None: the checkpoint's own, and what is usual in its family. `vision_bits`
    None: what goes with each of `bits`. `four_bit` (a name in `quantization.FOUR_BIT`), `imatrix`
    (an importance matrix) and `overrides` are for the language model of 4 bits alone."""

    bits: tuple[int, ...] = (16, 8, 4)
    resolutions: tuple[int, ...] | None = None
    vision_bits: int | None = None
    four_bit: str = TABLE[4].name
    imatrix: Path | None = None
    overrides: tuple[Override, ...] = ()
    name: str | None = None


@dataclass(frozen=True)
class Target:
    """A tensor's slot in one of the plan's files; `grid`: (old, new) positions per side where the
    table must be interpolated. `more_columns`, `more_rows`: zeros behind every row, and rows of
    zeros behind the last, which the file has and the checkpoint has not. `importance`: of the
    columns, for types that are quantized with it (`BundleFile.imatrix_sha256` says which it is).
    """

    file: int
    slot: Slot
    grid: tuple[int, int] | None = None
    more_columns: int = 0
    more_rows: int = 0
    importance: Array | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Work:
    """`heads`, `parts`: as in `Mapped`. `whole`: read in one piece, as interpolation needs it."""

    source: Tensor
    targets: tuple[Target, ...]
    heads: int = 0
    parts: tuple[Part, ...] = ()
    whole: bool = False

    @property
    def paths(self) -> set[Path]:
        """The files that it is read from."""
        adapter = {t.path for p in self.parts for t in (p.low_rank.a, p.low_rank.b)}
        return {self.source.path} | adapter


@dataclass(frozen=True)
class Plan:
    files: tuple[OutputFile, ...]
    work: tuple[Work, ...]


def make_plan(model: Model, options: Options, scratch: Path) -> Plan:
    """Files in the order 16, 8, 4 bits, then for each resolution an mmproj per vision bits;
    `scratch`: a folder."""
    resolutions = check_resolutions(model, options.resolutions)
    vision_bits = {options.vision_bits or default_vision_bits(bits) for bits in options.bits}
    header = scratch / ".header.partial"
    recipe = _recipe(options)
    files = [llm_file(model, bits, recipe, header) for bits in options.bits]
    files += [
        _vision_file(model, resolution, bits, header)
        for resolution in resolutions
        for bits in sorted(vision_bits, reverse=True)
    ]
    indexed = list(enumerate(files))
    llm = [(i, file) for i, file in indexed if file.about.role == "llm"]
    vision = [(i, file) for i, file in indexed if file.about.role == "vision"]
    work = [
        Work(m.source, _llm_targets(m, llm, recipe), m.heads, m.parts) for m in model.llm if llm
    ]
    work += [_vision_work(model, m, vision) for m in model.vision if vision]
    return Plan(tuple(files), tuple(work))


def _recipe(options: Options) -> Recipe:
    """For the file of 4 bits; without one there is nothing to read."""
    if 4 not in options.bits:
        return Recipe()
    importance = read_importance(options.imatrix) if options.imatrix is not None else None
    return Recipe(name=options.four_bit, importance=importance, overrides=options.overrides)


def _llm_targets(
    mapped: Mapped, files: Sequence[tuple[int, OutputFile]], recipe: Recipe
) -> tuple[Target, ...]:
    targets = []
    for i, file in files:
        slot, importance = file.slots[mapped.target], None
        if recipe.importance is not None and file.about.imatrix_sha256 and slot.kind in WEIGHTED:
            importance = recipe.importance.weights.get(mapped.target)
        targets.append(Target(i, slot, importance=importance))
    return tuple(targets)


def _vision_work(model: Model, mapped: Mapped, files: Sequence[tuple[int, OutputFile]]) -> Work:
    targets = []
    whole = mapped.target == POSITIONS
    for i, file in files:
        slot = file.slots[mapped.target]
        if whole:
            assert file.about.resolution is not None
            new = file.about.resolution // model.tower.patch
            grid = (model.tower.grid, new) if new != model.tower.grid else None
            targets.append(Target(i, slot, grid))
            continue
        source = mapped.source
        rows, columns = slot.rows - source.rows, slot.columns - source.columns
        targets.append(Target(i, slot, more_columns=columns, more_rows=rows))
    return Work(mapped.source, tuple(targets), mapped.heads, mapped.parts, whole)


def _vision_file(model: Model, resolution: int, bits: int, scratch: Path) -> OutputFile:
    quantization, tower = TABLE[bits], model.tower
    about = BundleFile(
        path=f"mmproj-{model.name}-{resolution}-{quantization.name}.gguf",
        role="vision",
        bits=bits,
        type=quantization.name,
        bytes=0,
        sha256="",
        resolution=resolution,
        resized_from=tower.image_size if resolution != tower.image_size else None,
        visual_tokens=model.projector.visual_tokens(resolution, tower.patch),
    )
    inner = tower.stored_inner(quantization.block)
    tensors = []
    for m in model.vision:
        shape = m.source.shape
        if m.target == POSITIONS:
            shape = (tower.positions(resolution), tower.hidden)
        elif m.inner is not None:
            shape = (*shape[: m.inner], inner, *shape[m.inner + 1 :])
        tensors.append((m.target, vision_type(m.target, shape, quantization), shape))
    values: dict[str, Any] = {
        "general.type": "mmproj",
        "general.name": model.name + model.family.name_suffix,
        "general.file_type": int(quantization.file_type),
        **mmproj_metadata(model, resolution, inner),
    }
    if bits != 16:
        values["general.quantization_version"] = 2
    return lay_out(about, "clip", values, tensors, scratch)
