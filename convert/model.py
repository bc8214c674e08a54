"""A checkpoint whose every tensor is accounted for, or what is wrong with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imp_deploy.bundle import Mode
from imp_deploy.convert.adapter import Adapter, open_adapter
from imp_deploy.convert.checkpoint import (
    Checkpoint,
    is_adapter,
    open_checkpoint,
    require_folder,
)
from imp_deploy.convert.families import family_of
from imp_deploy.convert.families.base import Dimensions, Family, Naming, Value
from imp_deploy.convert.mapping import (
    CHECKPOINT,
    Mapped,
    check_left_over,
    map_language_model,
    map_vision,
    naming_of,
)
from imp_deploy.convert.merge import (
    Merged,
    check_base,
    check_used,
    language_cures,
    merge,
    require_settings,
    vision_cures,
)
from imp_deploy.convert.names import check_name, default_name
from imp_deploy.convert.projectors import Projector
from imp_deploy.convert.tower_config import (
    named_tower,
    read_mode,
    read_projector,
    read_tower,
    refuse_marks,
)
from imp_deploy.convert.towers.base import Tower
from imp_deploy.convert.vocab import Vocabulary, read_vocabulary
from imp_deploy.errors import BadInput


@dataclass(frozen=True)
class Model:
    """`checkpoint`: the folder with the language model; for a LoRA adapter its base. `separate`:
    that of a tower that is not in there; `named_tower`: what config.json calls it, where that
    speaks of another size. `aspect_stated`: whether config.json says the mode."""

    name: str
    checkpoint: Checkpoint
    separate: Checkpoint | None
    adapter: Adapter | None
    family: Family
    dimensions: Dimensions
    metadata: Mapping[str, Value]
    tower: Tower
    named_tower: str | None
    projector: Projector
    mode: Mode
    aspect_stated: bool
    vocabulary: Vocabulary
    llm: tuple[Mapped, ...]
    vision: tuple[Mapped, ...]

    @property
    def folders(self) -> tuple[Path, ...]:
        """All that it was read from."""
        return tuple(part.folder for part in self._parts())

    @property
    def weight_files(self) -> tuple[Path, ...]:
        return tuple(path for part in self._parts() for path in part.weight_files)

    def _parts(self) -> Iterable[Checkpoint | Adapter]:
        return filter(None, (self.checkpoint, self.separate, self.adapter))


def read_model(
    folder: Path, tower_folder: Path | None, name: str | None, base: Path | None = None
) -> Model:
    """Opens a checkpoint, or the LoRA adapter in `folder` on its `base`, and its separate tower,
    and maps every tensor."""
    adapter = _adapter(folder, base)
    checkpoint = open_checkpoint(folder if base is None else base)
    if adapter is not None:
        require_settings(checkpoint.config, adapter, checkpoint.folder)
    config, home = settings_of(checkpoint.config, checkpoint.folder, adapter)
    separate = open_checkpoint(tower_folder) if tower_folder is not None else None
    where = str(home / "config.json")
    family = family_of(config, where)
    config = family.settings(config, where)
    projector = read_projector(family, config, where)
    mode = read_mode(config, family.aspects, where)
    refuse_marks(config, where)
    dimensions, metadata = family.read_config(config, where)
    tower = read_tower(
        family.tower,
        config,
        separate.config if separate else None,
        where,
        str(separate.folder / "config.json") if separate else "",
    )
    if adapter is not None:
        check_base(family, checkpoint.config, adapter, checkpoint.folder)
    language = CHECKPOINT if adapter is None else language_cures(adapter)
    naming = naming_of(family, checkpoint.tensors, checkpoint.folder, language)
    merged = _merged(adapter, family, dimensions, naming, checkpoint)
    tensors = merged.tensors
    cures = CHECKPOINT if adapter is None else vision_cures(adapter)
    llm, used = map_language_model(naming, dimensions, config, tensors, checkpoint.folder, language)
    vision, used_too = map_vision(
        naming,
        tower,
        projector,
        dimensions,
        tensors,
        separate.tensors if separate else None,
        folder,
        cures,
    )
    check_left_over(tensors, used | used_too, naming.ignored, language)
    if adapter is not None:
        mapped = {m.source.name for m in llm + vision}
        check_used(merged, mapped, used_too - mapped, adapter.folder)
    return Model(
        name=default_name(folder) if name is None else check_name(name),
        checkpoint=checkpoint,
        separate=separate,
        adapter=adapter,
        family=family,
        dimensions=dimensions,
        metadata=metadata,
        tower=tower,
        named_tower=_other_name(config, tower) if separate else None,
        projector=projector,
        mode=mode,
        aspect_stated=config.get("image_aspect_ratio") is not None,
        vocabulary=read_vocabulary(
            tokenizer_folder(folder, checkpoint.folder), family, dimensions.rows
        ),
        llm=_with_parts(llm, merged),
        vision=_with_parts(vision, merged),
    )


def settings_of(
    config: dict[str, Any], folder: Path, adapter: Adapter | None
) -> tuple[dict[str, Any], Path]:
    """The multimodal configuration and its folder: the adapter's own, where it has one; but a tower
    that only the base describes is the base's."""
    if adapter is None or adapter.config is None:
        return config, folder
    tower = {k: v for k, v in config.items() if k == "vision_tower_config"}
    return tower | adapter.config, adapter.folder


def tokenizer_folder(folder: Path, base: Path) -> Path:
    """Adapters are saved without the tokenizer, which is the base's then."""
    own = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))
    own = own or all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))
    return folder if own else base


def _adapter(folder: Path, base: Path | None) -> Adapter | None:
    if base is None:
        return None
    require_folder(folder)
    if not is_adapter(folder):
        raise BadInput(
            f"{folder} is no LoRA adapter (a folder with adapter_config.json and no whole model); "
            "leave out --base."
        )
    require_folder(base)
    if is_adapter(base):
        raise BadInput(f"The base {base} is a LoRA adapter itself; give the whole model under it.")
    return open_adapter(folder)


def _other_name(config: dict[str, Any], tower: Tower) -> str | None:
    named = named_tower(config)
    sizes = {"patch_size": tower.patch, "image_size": tower.image_size}
    return str(config["mm_vision_tower"]) if any(named[k] != sizes[k] for k in named) else None


def _merged(
    adapter: Adapter | None,
    family: Family,
    dimensions: Dimensions,
    naming: Naming,
    checkpoint: Checkpoint,
) -> Merged:
    if adapter is None:
        return Merged(checkpoint.tensors, {})
    return merge(adapter, family, dimensions, naming, checkpoint.tensors, checkpoint.folder)


def _with_parts(mapped: tuple[Mapped, ...], merged: Merged) -> tuple[Mapped, ...]:
    return tuple(dataclasses.replace(m, parts=merged.parts.get(m.source.name, ())) for m in mapped)
