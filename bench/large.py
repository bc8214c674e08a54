"""Exports a LLaVA-1.5-13B of zeros, and says how much memory that needed.

`python -m imp_deploy.bench.large [--lora RANK] FOLDER [-- OPTIONS OF EXPORT]` needs the disk for
the files that it writes (8 GB with `--bits 4`, 49 GB for all three); the 27 GB of the checkpoint
are holes in a file. Its seconds mean nothing: no disk is read. `--lora` exports an adapter of that
rank for every linear layer of the language model, on the same base.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from imp_deploy.convert.towers.clip import CLIP

HIDDEN, INNER, LAYERS, HEADS, ROWS = 5120, 13824, 40, 40, 32000
BYTES = 2


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor in the authors' naming, the tower with all its layers."""
    yield "model.embed_tokens.weight", (ROWS, HIDDEN)
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        yield f"{layer}.input_layernorm.weight", (HIDDEN,)
        yield f"{layer}.post_attention_layernorm.weight", (HIDDEN,)
        for name in ("q", "k", "v", "o"):
            yield f"{layer}.self_attn.{name}_proj.weight", (HIDDEN, HIDDEN)
        for name, out, into in (
            ("gate", INNER, HIDDEN),
            ("up", INNER, HIDDEN),
            ("down", HIDDEN, INNER),
        ):
            yield f"{layer}.mlp.{name}_proj.weight", (out, into)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (ROWS, HIDDEN)
    yield from _vision()


def _vision() -> Iterator[tuple[str, tuple[int, ...]]]:
    width, inner = CLIP.published["hidden_size"], CLIP.published["intermediate_size"]
    for name, out, into in (("0", HIDDEN, width), ("2", HIDDEN, HIDDEN)):
        yield f"model.mm_projector.{name}.weight", (out, into)
        yield f"model.mm_projector.{name}.bias", (out,)
    tower = "model.vision_tower.vision_tower.vision_model"
    yield f"{tower}.embeddings.class_embedding", (width,)
    yield f"{tower}.embeddings.patch_embedding.weight", (width, 3, 14, 14)
    yield f"{tower}.embeddings.position_embedding.weight", (24 * 24 + 1, width)
    layers = [f"{tower}.encoder.layers.{i}" for i in range(CLIP.published["num_hidden_layers"])]
    norms = [f"{layer}.layer_norm{n}" for layer in layers for n in (1, 2)]
    for norm in [f"{tower}.pre_layrnorm", f"{tower}.post_layernorm", *norms]:
        yield f"{norm}.weight", (width,)
        yield f"{norm}.bias", (width,)
    for layer in layers:
        for name in ("q", "k", "v", "out"):
            yield f"{layer}.self_attn.{name}_proj.weight", (width, width)
            yield f"{layer}.self_attn.{name}_proj.bias", (width,)
        for name, out, into in (("fc1", inner, width), ("fc2", width, inner)):
            yield f"{layer}.mlp.{name}.weight", (out, into)
            yield f"{layer}.mlp.{name}.bias", (out,)


def write_zeros(path: Path, tensors: Iterable[tuple[str, tuple[int, ...]]]) -> None:
    """A safetensors file whose weights are a hole."""
    entries, end = {}, 0
    for name, shape in tensors:
        begin, end = end, end + math.prod(shape) * BYTES
        entries[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)


def make_adapter(folder: Path, rank: int) -> None:
    """A plain PEFT adapter: tower and projector stay the base's."""
    folder.mkdir(parents=True, exist_ok=True)
    factors = []
    for name, shape in shapes():
        module = name.removesuffix(".weight")
        if module.endswith("_proj") and module.startswith("model.layers."):
            factors.append((f"base_model.model.{module}.lora_A.weight", (rank, shape[1])))
            factors.append((f"base_model.model.{module}.lora_B.weight", (shape[0], rank)))
    write_zeros(folder / "adapter_model.safetensors", factors)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def make_checkpoint(folder: Path) -> None:
    """Weights of zeros, and a vocabulary of bytes."""
    folder.mkdir(parents=True)
    write_zeros(folder / "model.safetensors", shapes())
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581"]
    vocabulary = {text: i for i, text in enumerate(pieces)}
    model = {"type": "BPE", "vocab": vocabulary, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model}))
    config = {
        "model_type": "llava_llama",
        "architectures": ["LlavaLlamaForCausalLM"],
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "vocab_size": ROWS,
        "mm_vision_tower": CLIP.example,
        "image_aspect_ratio": "pad",
    }
    (folder / "config.json").write_text(json.dumps(config))


def measure(checkpoint: Path, out: Path, *options: str) -> dict[str, Any]:
    """One export into an empty folder, in a process of its own, flushed to the disk by itself."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.monotonic()
    argv = [sys.executable, "-m", "imp_deploy", "export", str(checkpoint), str(out), "--json"]
    done = subprocess.run([*argv, *options], check=True, capture_output=True)
    seconds = time.monotonic() - began
    files = json.loads(done.stdout)["bundle"]["files"]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {
        "options": list(options),
        "seconds": round(seconds, 2),
        "peak_rss_mb": round(peak / 1e6),
        "files": {f["path"]: f["bytes"] for f in files},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the checkpoint and the bundle go")
    parser.add_argument("--lora", type=int, metavar="RANK", help="export an adapter on it")
    parser.add_argument("options", nargs="*", help="for `export`, after --")
    chosen = parser.parse_args()
    checkpoint = chosen.folder / "llava-v1.5-13b"
    if not (checkpoint / "config.json").exists():
        make_checkpoint(checkpoint)
    source, options = checkpoint, list(chosen.options)
    if chosen.lora:
        source = chosen.folder / "lora"
        make_adapter(source, chosen.lora)
        options += ["--base", str(checkpoint)]
    print(json.dumps(measure(source, chosen.folder / "bundle", *options), indent=1))


if __name__ == "__main__":
    main()
