"""What an export will write: the files, and for every source tensor where its values go."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import LlamaFileType

from imp_deploy import prompt
from imp_deploy.bundle import BundleFile, Mode
from imp_deploy.convert.checkpoint import Checkpoint, open_checkpoint
from imp_deploy.convert.families import family_of
from imp_deploy.convert.families.base import Dimensions, Family, Value
from imp_deploy.convert.layout import OutputFile, Slot, lay_out
from imp_deploy.convert.mapping import (
    Mapped,
    check_left_over,
    map_language_model,
    map_vision,
    naming_of,
)
from imp_deploy.convert.quantization import TABLE, llm_type, vision_type
from imp_deploy.convert.tensor import Tensor
from imp_deploy.convert.tower import (
    POSITIONS,
    Tower,
    check_resolutions,
    mmproj_metadata,
)
from imp_deploy.convert.tower_config import check_projector, read_mode, read_tower
from imp_deploy.convert.vocab import Vocabulary, read_vocabulary
from imp_deploy.errors import BadInput

_LONGEST_NAME = 200  # bytes; file systems end at 255, and the name gets a prefix and an ending


@dataclass(frozen=True, kw_only=True)
class Options:
    """`resolutions` None: 384 and 196, as far as the checkpoint has them."""

    bits: tuple[int, ...] = (16, 8, 4)
    resolutions: tuple[int, ...] | None = None
    vision_bits: int = 16
    name: str | None = None


@dataclass(frozen=True)
class Model:
    """A checkpoint whose every tensor is accounted for."""

    name: str
    checkpoint: Checkpoint
    separate: Checkpoint | None
    family: Family
    dimensions: Dimensions
    metadata: Mapping[str, Value]
    tower: Tower
    mode: Mode
    vocabulary: Vocabulary
    llm: tuple[Mapped, ...]
    vision: tuple[Mapped, ...]


@dataclass(frozen=True)
class Target:
    """A tensor's slot in one of the plan's files; `grid`: (old, new) positions per side where the
    table must be interpolated."""

    file: int
    slot: Slot
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class Work:
    source: Tensor
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Plan:
    files: tuple[OutputFile, ...]
    work: tuple[Work, ...]


def read_model(folder: Path, tower_folder: Path | None, name: str | None) -> Model:
    """Opens a checkpoint (and its separate tower) and maps every tensor, or says what is wrong."""
    checkpoint = open_checkpoint(folder)
    separate = open_checkpoint(tower_folder) if tower_folder is not None else None
    where = str(folder / "config.json")
    family = family_of(checkpoint.config, where)
    check_projector(checkpoint.config, where)
    mode = read_mode(checkpoint.config, where)
    dimensions, metadata = family.read_config(checkpoint.config, where)
    tower = read_tower(
        checkpoint.config,
        separate.config if separate else None,
        where,
        str(separate.folder / "config.json") if separate else "",
    )
    tensors = checkpoint.tensors
    naming = naming_of(family, tensors, folder)
    llm, used = map_language_model(naming, dimensions, checkpoint.config, tensors, folder)
    vision, used_too = map_vision(
        naming, tower, dimensions, tensors, separate.tensors if separate else None, folder
    )
    check_left_over(tensors, used | used_too, naming)
    return Model(
        name=default_name(folder) if name is None else check_name(name),
        checkpoint=checkpoint,
        separate=separate,
        family=family,
        dimensions=dimensions,
        metadata=metadata,
        tower=tower,
        mode=mode,
        vocabulary=read_vocabulary(folder, family, dimensions.rows),
        llm=llm,
        vision=vision,
    )


def default_name(folder: Path) -> str:
    """The folder's name, or the repository's where the folder is a snapshot in the hub's cache
    (`models--OWNER--NAME/snapshots/COMMIT`)."""
    place = folder.resolve()
    repository = place.parent.parent.name
    if place.parent.name == "snapshots" and repository.startswith("models--"):
        return check_name(repository.split("--")[-1])
    return check_name(place.name)


def check_name(name: str) -> str:
    """A bundle's name becomes part of file names."""
    wrong = any(c in "/\\" or unicodedata.category(c) in ("Cc", "Cs") for c in name)
    if wrong or not name or name.startswith(".") or len(os.fsencode(name)) > _LONGEST_NAME:
        raise BadInput(
            f"The name {name!r} cannot be part of a file name; choose another one with --name."
        )
    return name


def make_plan(model: Model, options: Options, scratch: Path) -> Plan:
    """Files in the order 16, 8, 4 bits, then one mmproj per resolution; `scratch`: a folder."""
    resolutions = check_resolutions(model.tower, options.resolutions, model.checkpoint.folder)
    header = scratch / ".header.partial"
    files = [_llm_file(model, bits, header) for bits in options.bits]
    files += [_vision_file(model, r, options.vision_bits, header) for r in resolutions]
    indexed = list(enumerate(files))
    llm = [(i, file) for i, file in indexed if file.about.role == "llm"]
    vision = [(i, file) for i, file in indexed if file.about.role == "vision"]
    work = [
        Work(m.source, tuple(Target(i, file.slots[m.target]) for i, file in llm))
        for m in model.llm
        if llm
    ]
    work += [_vision_work(model, m, vision) for m in model.vision if vision]
    return Plan(tuple(files), tuple(work))


def _vision_work(model: Model, mapped: Mapped, files: Sequence[tuple[int, OutputFile]]) -> Work:
    targets = []
    for i, file in files:
        grid = None
        if mapped.target == POSITIONS:
            assert file.about.resolution is not None
            new = file.about.resolution // model.tower.patch
            grid = (model.tower.grid, new) if new != model.tower.grid else None
        targets.append(Target(i, file.slots[mapped.target], grid))
    return Work(mapped.source, tuple(targets))


def _llm_file(model: Model, bits: int, scratch: Path) -> OutputFile:
    quantization = TABLE[bits]
    about = BundleFile(
        path=f"{model.name}-{quantization.name}.gguf",
        role="llm",
        bits=bits,
        type=quantization.name,
        bytes=0,
        sha256="",
    )
    tied = all(m.target != "output.weight" for m in model.llm)
    tensors = [
        (m.target, llm_type(m.target, m.source.shape, quantization, tied), m.source.shape)
        for m in model.llm
    ]
    metadata = _llm_metadata(model, quantization.file_type, quantized=bits != 16)
    return lay_out(about, model.family.architecture, metadata, tensors, scratch)


def _llm_metadata(model: Model, file_type: LlamaFileType, *, quantized: bool) -> dict[str, Any]:
    d, family, vocabulary = model.dimensions, model.family, model.vocabulary
    own: dict[str, Any] = {
        "embedding_length": d.hidden,
        "feed_forward_length": d.inner,
        "block_count": d.layers,
        "attention.head_count": d.heads,
        "attention.head_count_kv": d.heads_kv,
        **model.metadata,
    }
    metadata: dict[str, Any] = {
        "general.type": "model",
        "general.name": model.name + family.name_suffix,
        "general.file_type": int(file_type),
        **{f"{family.architecture}.{key}": value for key, value in own.items()},
        "tokenizer.ggml.model": vocabulary.model,
        "tokenizer.ggml.pre": vocabulary.pre,
        "tokenizer.ggml.tokens": [t.text for t in vocabulary.tokens],
        "tokenizer.ggml.token_type": [int(t.type) for t in vocabulary.tokens],
        "tokenizer.ggml.add_bos_token": vocabulary.add_bos,
        "tokenizer.ggml.add_eos_token": False,
        **{f"tokenizer.ggml.{key}": value for key, value in vocabulary.special.items()},
        "tokenizer.chat_template": prompt.chat_template(family.chat),
    }
    if vocabulary.merges:
        metadata["tokenizer.ggml.merges"] = list(vocabulary.merges)
    if vocabulary.model == "llama":
        metadata["tokenizer.ggml.scores"] = [t.score for t in vocabulary.tokens]
    if vocabulary.add_space_prefix is not None:
        metadata["tokenizer.ggml.add_space_prefix"] = vocabulary.add_space_prefix
    if quantized:
        metadata["general.quantization_version"] = 2
    return metadata


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
        visual_tokens=tower.visual_tokens(resolution),
    )
    tensors = []
    for m in model.vision:
        shape = m.source.shape
        if m.target == POSITIONS:
            shape = (tower.visual_tokens(resolution), tower.hidden)
        tensors.append((m.target, vision_type(m.target, shape, quantization), shape))
    metadata: dict[str, Any] = {
        "general.type": "mmproj",
        "general.name": model.name + model.family.name_suffix,
        "general.file_type": int(quantization.file_type),
        **mmproj_metadata(tower, resolution, model.mode, model.dimensions.hidden),
    }
    if bits != 16:
        metadata["general.quantization_version"] = 2
    return lay_out(about, "clip", metadata, tensors, scratch)
