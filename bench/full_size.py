"""A random checkpoint of Imp-3B's full size, 6.4 GB, which is made once and kept."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from imp_deploy.demo.checkpoint import hub_config
from imp_deploy.demo.write import write_demo

HIDDEN, INNER, LAYERS, ROWS = 2560, 10240, 32, 51200
WIDTH, VISION_INNER, VISION_LAYERS = 1152, 4304, 27
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": VISION_INNER,
    "num_hidden_layers": VISION_LAYERS,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "layer_norm_eps": 1e-6,
}
SHARD_BYTES = 1 << 30


def shapes(layers: int = LAYERS) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of the checkpoint in the hub's naming, the tower with the layers it uses;
    `layers` of the language model."""
    yield "transformer.embd.wte.weight", (ROWS, HIDDEN)
    for i in range(layers):
        block = f"transformer.h.{i}"
        for name, out, into in (
            ("mixer.Wqkv", 3 * HIDDEN, HIDDEN),
            ("mixer.out_proj", HIDDEN, HIDDEN),
            ("mlp.fc1", INNER, HIDDEN),
            ("mlp.fc2", HIDDEN, INNER),
        ):
            yield f"{block}.{name}.weight", (out, into)
            yield f"{block}.{name}.bias", (out,)
        yield f"{block}.ln.weight", (HIDDEN,)
        yield f"{block}.ln.bias", (HIDDEN,)
    yield "lm_head.ln.weight", (HIDDEN,)
    yield "lm_head.ln.bias", (HIDDEN,)
    yield "lm_head.linear.weight", (ROWS, HIDDEN)
    yield "lm_head.linear.bias", (ROWS,)
    width, inner = WIDTH, VISION_INNER
    yield "transformer.mm_projector.0.weight", (HIDDEN, width)
    yield "transformer.mm_projector.0.bias", (HIDDEN,)
    yield "transformer.mm_projector.2.weight", (HIDDEN, HIDDEN)
    yield "transformer.mm_projector.2.bias", (HIDDEN,)
    tower = "transformer.vision_tower.vision_tower.vision_model"
    yield f"{tower}.embeddings.patch_embedding.weight", (width, 3, 14, 14)
    yield f"{tower}.embeddings.patch_embedding.bias", (width,)
    yield f"{tower}.embeddings.position_embedding.weight", (27 * 27, width)
    for i in range(VISION_LAYERS - 1):
        block = f"{tower}.encoder.layers.{i}"
        for name in ("layer_norm1", "layer_norm2"):
            yield f"{block}.{name}.weight", (width,)
            yield f"{block}.{name}.bias", (width,)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{block}.self_attn.{name}.weight", (width, width)
            yield f"{block}.self_attn.{name}.bias", (width,)
        for name, out, into in (("fc1", inner, width), ("fc2", width, inner)):
            yield f"{block}.mlp.{name}.weight", (out, into)
            yield f"{block}.mlp.{name}.bias", (out,)


def make_checkpoint(folder: Path, layers: int = LAYERS) -> None:
    """Random F16 weights in shards of a gigabyte; the demo's tokenizer in the first rows. With
    fewer `layers` of the language model, the tower and its projector are still of full size."""
    write_demo(folder, force=True)
    (folder / "model.safetensors").unlink()
    rng = np.random.default_rng(0)
    pool = (rng.standard_normal(1 << 24, dtype=np.float32) * 0.02).astype(np.float16)
    shard: dict[str, Any] = {}
    index: dict[str, str] = {}
    size = number = 0
    for name, shape in [*shapes(layers), ("", ())]:
        if not name or size > SHARD_BYTES:
            number += 1
            file = f"model-{number:05d}.safetensors"
            save_file(shard, folder / file)
            index |= dict.fromkeys(shard, file)
            shard, size = {}, 0
        if name:
            shard[name] = np.resize(np.roll(pool, int(rng.integers(pool.size))), shape)
            size += shard[name].nbytes
    config = hub_config() | {
        "vocab_size": ROWS,
        "n_embd": HIDDEN,
        "n_layer": layers,
        "n_head": 32,
        "n_inner": INNER,
        "rotary_dim": 32,
        "n_positions": 3072,
        "mm_hidden_size": WIDTH,
        "vision_tower_config": VISION,
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "config.json").write_text(json.dumps(config))


def have_checkpoint(folder: Path, layers: int = LAYERS) -> Path:
    """`folder` with the checkpoint in it, made unless it is there whole."""
    if not _whole(folder, layers):
        # In a process of its own: a child's peak memory begins at its parent's.
        process = multiprocessing.get_context("spawn").Process(
            target=make_checkpoint, args=(folder, layers)
        )
        process.start()
        process.join()
        if not _whole(folder, layers):
            raise SystemExit(f"{folder} could not be made; see above.")
    return folder


def _whole(folder: Path, layers: int) -> bool:
    """The demo's own config.json lies there while the weights are written."""
    try:
        found: bool = json.loads((folder / "config.json").read_text())["n_layer"] == layers
    except FileNotFoundError:
        return False
    return found and (folder / "model.safetensors.index.json").is_file()
