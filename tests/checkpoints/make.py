"""Whole checkpoints: language model, projector and tower."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

from tests.checkpoints.configs import hf_config, stray_keys, token_ids, whole_config
from tests.checkpoints.language import inverse_frequencies, language
from tests.checkpoints.layouts import HF, named
from tests.checkpoints.projector import projector
from tests.checkpoints.stored import write_json, write_weights
from tests.checkpoints.values import (
    LLM,
    Dtype,
    Family,
    Llm,
    Naming,
    Random,
    Sizes,
    Tower,
    Weights,
    check_naming,
    is_clip,
)
from tests.checkpoints.vision import is_kept, position_ids, tower_config, write_tower
from tests.checkpoints.vision import tower as whole_tower
from tests.tokenizers_real import Kind, Size, Vocabulary, write_tokenizer

REAL_ROWS: dict[Kind, int] = {
    "phi2": 51200,
    "phi2-plain": 51200,
    "qwen2": 151936,
    "phi3": 32064,
    "llama": 32000,
    "llama-hf": 32064,
}


def make_checkpoint(
    out: Path,
    *,
    family: Family,
    naming: Naming,
    weights: Weights = "safetensors",
    shards: int = 1,
    dtype: Dtype = "f16",
    tower: Tower | None = None,
    aspect: Literal["square", "pad"] | None = None,
    image_size: int | None = None,
    seed: int = 0,
    tokenizer: Size | None = "small",
    vocabularies: Path | None = None,
    sizes: Sizes | None = None,
    old_buffers: bool = False,
    stray: bool = False,
) -> Path:
    """Writes config, weights and tokenizer into `out`, and returns it.

    `hub` naming exists for phi2 only, the `hf` ones (see `layouts.HF`) for llava only. `tower`:
    `used` leaves out what is not used (in the training naming the last norm is still there, as the
    first version of the training repo kept it), `all` has it, `separate` writes a whole SigLIP or
    CLIP checkpoint beside `out`, at `tower_of(out)`, and names it in the config. If nothing is
    said: `used`, and `all` in the `hf` namings, which have no other; 384 pixels and `square` for
    Imp, 336 and `pad` for the families with CLIP. llama.cpp's LDP needs 24 x 24 patches: a small
    picture is 48 pixels in patches of 2. Special tokens and the rows behind the last token have
    zero rows in the head, so greedy text never ends by itself. `tokenizer` None writes no tokenizer
    files; `real` is for vocabularies of the published sizes and takes them from `vocabularies`,
    llama.cpp's `models` folder (files of 20 to 80 MB). `old_buffers` stores the constants that old
    versions of transformers did (families with LLaMA), `stray` writes keys of another library into
    the config, with other values.
    """
    hf = naming in HF
    check_naming(family, naming)
    if hf and tower not in (None, "all"):
        raise ValueError(f"{naming} naming always holds the whole tower")
    if old_buffers and not is_clip(family):
        raise ValueError(f"{family} has no old buffers")
    llm, sizes = LLM[family], sizes or default_sizes(LLM[family], tokenizer)
    image_size = image_size or (336 if is_clip(family) else 384)
    aspect = aspect or ("pad" if is_clip(family) else "square")
    tower = tower or ("all" if hf else "used")
    vocabulary, rows = vocabulary_for(out, "llama-hf" if hf else llm, tokenizer, vocabularies)

    rng = Random(seed)
    whole = whole_tower(family, sizes, image_size, rng)
    text = language(llm, sizes, rows, vocabulary, rng.fork(llm))
    kept = {k: v for k, v in whole.items() if tower == "all" or is_kept(k, naming, sizes)}
    if old_buffers:
        text |= inverse_frequencies(sizes)
        kept |= position_ids(sizes, image_size)
    inside = {} if tower == "separate" else kept
    state = named(naming, text, projector(family, sizes, rng), inside)

    config: dict[str, Any]
    if hf:
        assert vocabulary.image is not None
        config = hf_config(naming, sizes, image_size, rows, dtype, image=vocabulary.image)
    else:
        eos, image = vocabulary.eos, vocabulary.image
        config = whole_config(
            family, naming, sizes, rows, dtype, eos=eos, image=image, aspect=aspect
        )
        if tower == "separate":
            folder, others = tower_of(out), rng.fork("text")
            write_tower(folder, family, whole, sizes, image_size, others, weights, dtype)
            config["mm_vision_tower"] = str(folder.resolve())
        else:
            config["vision_tower_config"] = tower_config(family, sizes, image_size)
    write_json(out / "config.json", config | (stray_keys(sizes) if stray else {}))
    write_generation(out, llm, vocabulary)
    write_weights(out, state, weights, shards, dtype)
    return out


def tower_of(out: Path) -> Path:
    """Where `make_checkpoint(out, tower="separate")` puts the tower's own checkpoint."""
    return out.parent / f"{out.name}-tower"


def default_sizes(llm: Llm, tokenizer: Size | None) -> Sizes:
    real_qwen = llm == "qwen2" and tokenizer == "real"  # 151646 tokens: narrow rows
    return Sizes(hidden=128, inner=256) if real_qwen else Sizes()


def vocabulary_for(
    out: Path, kind: Kind, tokenizer: Size | None, vocabularies: Path | None
) -> tuple[Vocabulary, int]:
    """Writes the tokenizer (None: not into `out`); what it holds, and the rows of the table."""
    out.mkdir(parents=True, exist_ok=True)
    if tokenizer is None:
        with tempfile.TemporaryDirectory() as scratch:
            vocabulary = write_tokenizer(Path(scratch), kind)
    else:
        vocabulary = write_tokenizer(out, kind, tokenizer, vocabularies)
    if tokenizer == "real":
        return vocabulary, REAL_ROWS[kind]
    if kind == "llama":  # as the published ones: a row for each token
        return vocabulary, vocabulary.tokens
    imp = 2 if kind == "phi2-plain" else 0  # as many rows as with Imp's two tokens
    return vocabulary, ((vocabulary.tokens + imp) // 64 + 2) * 64


def write_generation(out: Path, llm: Llm, vocabulary: Vocabulary) -> None:
    ids = token_ids(llm, vocabulary.eos) if llm == "llama" else {"eos_token_id": vocabulary.eos}
    write_json(out / "generation_config.json", ids)
