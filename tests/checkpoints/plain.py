"""Plain language models, which a LoRA adapter is merged into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.checkpoints.configs import hub_config, token_ids, train_config
from tests.checkpoints.language import language
from tests.checkpoints.layouts import named
from tests.checkpoints.make import default_sizes, vocabulary_for, write_generation
from tests.checkpoints.stored import write_json, write_weights
from tests.checkpoints.values import TORCH_DTYPE, Dtype, Llm, Naming, Random, Sizes, Weights
from tests.tokenizers_real import Size

MODEL_TYPE: dict[Llm, tuple[str, str]] = {
    "phi2": ("phi", "PhiForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "phi3": ("phi3", "Phi3ForCausalLM"),
    "llama": ("llama", "LlamaForCausalLM"),
}


def make_plain(
    out: Path,
    family: Llm,
    naming: Naming = "train",
    *,
    weights: Weights = "safetensors",
    shards: int = 1,
    dtype: Dtype = "f16",
    seed: int = 0,
    tokenizer: Size | None = "small",
    vocabularies: Path | None = None,
    sizes: Sizes | None = None,
) -> Path:
    """A language model's folder, without projector, tower and their keys; returns `out`.

    The weights are those of `make_checkpoint` with the same seed and sizes. `hub` naming is phi2's
    alone (`phi-msft`, the published Phi-2 of before transformers had Phi). The tokenizer of phi2
    lacks the two tokens that Imp adds; the table has as many rows all the same.
    """
    if naming != "train" and (naming, family) != ("hub", "phi2"):
        raise ValueError(f"{family} has no {naming} naming")
    sizes = sizes or default_sizes(family, tokenizer)
    kind = "phi2-plain" if family == "phi2" else family
    vocabulary, rows = vocabulary_for(out, kind, tokenizer, vocabularies)
    text = language(family, sizes, rows, vocabulary, Random(seed).fork(family))
    config: dict[str, Any] = hub_config(sizes) if naming == "hub" else train_config(family, sizes)
    model_type, architecture = MODEL_TYPE[family]
    config |= {
        "model_type": "phi-msft" if naming == "hub" else model_type,
        "architectures": [architecture],
        "vocab_size": rows,
        "tie_word_embeddings": False,
        "torch_dtype": TORCH_DTYPE[dtype],
        "use_cache": True,
        **token_ids(family, vocabulary.eos),
    }
    write_json(out / "config.json", config)
    write_generation(out, family, vocabulary)
    write_weights(out, named(naming, text, {}, {}), weights, shards, dtype)
    return out
