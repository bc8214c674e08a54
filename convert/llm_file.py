"""The language model's file: its types, its keys, and how each of its tensors is quantized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imp_deploy import prompt
from imp_deploy.bundle import BundleFile
from imp_deploy.convert.importance import Importance, check_fit
from imp_deploy.convert.layout import OutputFile, lay_out
from imp_deploy.convert.model import Model
from imp_deploy.convert.overrides import Override, chosen_types
from imp_deploy.convert.quantization import FOUR_BIT, TABLE, Quantization, llm_types


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the language model of 4 bits is made; no other file is touched by it. `name`: in
    `quantization.FOUR_BIT`."""

    name: str = TABLE[4].name
    importance: Importance | None = None
    overrides: Sequence[Override] = field(default=())


def llm_file(model: Model, bits: int, recipe: Recipe, scratch: Path) -> OutputFile:
    if bits != 4:
        recipe = Recipe()
    quantization = FOUR_BIT[recipe.name] if bits == 4 else TABLE[bits]
    importance = recipe.importance
    shapes = {m.target: m.source.shape for m in model.llm}
    if importance is not None:
        check_fit(importance, shapes)
    types = llm_types(
        shapes,
        quantization,
        model.dimensions.layers,
        weighted=importance is not None,
        chosen=chosen_types(recipe.overrides, shapes),
    )
    about = BundleFile(
        path=f"{model.name}-{quantization.name}.gguf",
        role="llm",
        bits=bits,
        type=quantization.name,
        bytes=0,
        sha256="",
        imatrix_sha256=None if importance is None else importance.sha256,
        overrides=tuple(str(override) for override in recipe.overrides),
    )
    metadata = _metadata(model, quantization)
    if importance is not None:
        metadata.update(importance.metadata())
    tensors = [(name, types[name], shape) for name, shape in shapes.items()]
    return lay_out(about, model.family.architecture, metadata, tensors, scratch)


def _metadata(model: Model, quantization: Quantization) -> dict[str, Any]:
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
        "general.file_type": int(quantization.file_type),
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
    if quantization.bits != 16:
        metadata["general.quantization_version"] = 2
    return metadata
