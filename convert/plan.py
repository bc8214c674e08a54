"""What an export will write: the files, and for every source tensor where its values go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import LlamaFileType

from imp_deploy import prompt
from imp_deploy.bundle import BundleFile
from imp_deploy.convert.layout import OutputFile, Slot, lay_out
from imp_deploy.convert.low_rank import Part
from imp_deploy.convert.mapping import Mapped
from imp_deploy.convert.mmproj import check_resolutions, mmproj_metadata
from imp_deploy.convert.model import Model
from imp_deploy.convert.quantization import TABLE, llm_type, vision_type
from imp_deploy.convert.tensor import Tensor
from imp_deploy.convert.towers.base import POSITIONS


@dataclass(frozen=True, kw_only=True)
class Options:
    """`resolutions` None: the checkpoint's own, and what is usual in its family."""

    bits: tuple[int, ...] = (16, 8, 4)
    resolutions: tuple[int, ...] | None = None
    vision_bits: int = 16
    name: str | None = None


@dataclass(frozen=True)
class Target:
    """A tensor's slot in one of the plan's files; `grid`: (old, new) positions per side where the
    table must be interpolated."""

    file: int
    slot: Slot
    grid: tuple[int, int] | None = None


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
    """Files in the order 16, 8, 4 bits, then one mmproj per resolution; `scratch`: a folder."""
    resolutions = check_resolutions(model, options.resolutions)
    header = scratch / ".header.partial"
    files = [_llm_file(model, bits, header) for bits in options.bits]
    files += [_vision_file(model, r, options.vision_bits, header) for r in resolutions]
    indexed = list(enumerate(files))
    llm = [(i, file) for i, file in indexed if file.about.role == "llm"]
    vision = [(i, file) for i, file in indexed if file.about.role == "vision"]
    work = [
        Work(m.source, tuple(Target(i, file.slots[m.target]) for i, file in llm), m.heads, m.parts)
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
    whole = mapped.target == POSITIONS
    return Work(mapped.source, tuple(targets), mapped.heads, mapped.parts, whole)


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
        visual_tokens=model.projector.visual_tokens(resolution, tower.patch),
    )
    tensors = []
    for m in model.vision:
        shape = m.source.shape
        if m.target == POSITIONS:
            shape = (tower.positions(resolution), tower.hidden)
        tensors.append((m.target, vision_type(m.target, shape, quantization), shape))
    values: dict[str, Any] = {
        "general.type": "mmproj",
        "general.name": model.name + model.family.name_suffix,
        "general.file_type": int(quantization.file_type),
        **mmproj_metadata(model, resolution),
    }
    if bits != 16:
        values["general.quantization_version"] = 2
    return lay_out(about, "clip", values, tensors, scratch)
