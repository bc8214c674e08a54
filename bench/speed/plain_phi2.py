"""The language model of the full-size checkpoint as a plain Phi-2, which is all that llama.cpp's
converter reads of it: the same values under transformers' names, Wqkv in its three parts."""

from __future__ import annotations

import json
import multiprocessing
import re
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import save_file

from imp_deploy import llama_source
from imp_deploy.bench.speed.phi2_tokenizer import write_phi2_tokenizer

_DONE = "model.safetensors.index.json"
# Hub name -> transformers' name, `{i}` is the block; `{part}` one of the three of Wqkv.
_NAMES = (
    (r"transformer\.embd\.wte\.(\w+)", r"model.embed_tokens.\1"),
    (r"transformer\.h\.(\d+)\.ln\.(\w+)", r"model.layers.\1.input_layernorm.\2"),
    (r"transformer\.h\.(\d+)\.mixer\.out_proj\.(\w+)", r"model.layers.\1.self_attn.dense.\2"),
    (r"transformer\.h\.(\d+)\.mlp\.(fc[12])\.(\w+)", r"model.layers.\1.mlp.\2.\3"),
    (r"lm_head\.ln\.(\w+)", r"model.final_layernorm.\1"),
    (r"lm_head\.linear\.(\w+)", r"lm_head.\1"),
)
_FUSED = re.compile(r"transformer\.h\.(\d+)\.mixer\.Wqkv\.(\w+)")
_PARTS = ("q_proj", "k_proj", "v_proj")


def names_of(name: str) -> tuple[str, ...]:
    """transformers' names of the hub's tensor `name`, which is divided into as many equal parts
    along its first axis; none for what is no part of the language model."""
    if fused := _FUSED.fullmatch(name):
        block, kind = fused.groups()
        return tuple(f"model.layers.{block}.self_attn.{part}.{kind}" for part in _PARTS)
    for pattern, target in _NAMES:
        if found := re.fullmatch(pattern, name):
            return (found.expand(target),)
    return ()


def have_plain(checkpoint: Path, folder: Path) -> Path:
    """`folder` with the plain Phi-2 of `checkpoint` in it, made unless it is there whole."""
    if not (folder / _DONE).is_file():
        # In a process of its own: a child's peak memory begins at its parent's.
        process = multiprocessing.get_context("spawn").Process(
            target=make_plain, args=(checkpoint, folder)
        )
        process.start()
        process.join()
        if not (folder / _DONE).is_file():
            raise SystemExit(f"{folder} could not be made; see above.")
    return folder


def make_plain(checkpoint: Path, folder: Path) -> None:
    """Shard by shard; the index is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    write_phi2_tokenizer(folder, llama_source.source_folder())
    config = json.loads((checkpoint / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config_of(config)))
    index: dict[str, str] = {}
    for shard in sorted(checkpoint.glob("*.safetensors")):
        tensors = _plain_tensors(shard)
        if tensors:
            save_file(tensors, folder / shard.name)
            index |= dict.fromkeys(tensors, shard.name)
    (folder / _DONE).write_text(json.dumps({"weight_map": index}))


def _plain_tensors(shard: Path) -> dict[str, Any]:
    tensors: dict[str, Any] = {}
    with safe_open(shard, "numpy") as file:
        for name in file.keys():  # noqa: SIM118 - no dictionary
            targets = names_of(name)
            if targets:
                values = file.get_tensor(name)
                rows = len(values) // len(targets)
                for number, target in enumerate(targets):
                    tensors[target] = values[number * rows : (number + 1) * rows].copy()
    return tensors


def config_of(imp: dict[str, Any]) -> dict[str, Any]:
    head = imp["n_embd"] // imp["n_head"]
    return {
        "model_type": "phi",
        "architectures": ["PhiForCausalLM"],
        "vocab_size": imp["vocab_size"],
        "hidden_size": imp["n_embd"],
        "intermediate_size": imp["n_inner"],
        "num_hidden_layers": imp["n_layer"],
        "num_attention_heads": imp["n_head"],
        "num_key_value_heads": imp["n_head"],
        "partial_rotary_factor": imp["rotary_dim"] / head,
        "max_position_embeddings": imp["n_positions"],
        "layer_norm_eps": imp["layer_norm_epsilon"],
        "hidden_act": "gelu_new",
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
    }
