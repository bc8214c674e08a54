"""Weights and JSON on disk, as the libraries write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.checkpoints.values import TORCH_DTYPE, Dtype, Weights

if TYPE_CHECKING:
    from torch import Tensor

    from tests.checkpoints.values import State


def write_weights(out: Path, state: State, weights: Weights, shards: int, dtype: Dtype) -> None:
    """model.safetensors or pytorch_model.bin, whole or in shards with an index."""
    tensors = stored_as(state, dtype)
    stem, ending = (
        ("model", "safetensors") if weights == "safetensors" else ("pytorch_model", "bin")
    )
    if shards == 1:
        save(out / f"{stem}.{ending}", tensors)
        return
    total = sum(_bytes(tensor) for tensor in tensors.values())
    parts: list[State] = [{} for _ in range(shards)]
    done = 0
    for name, tensor in tensors.items():
        parts[min(done * shards // total, shards - 1)][name] = tensor
        done += _bytes(tensor)
    names = [f"{stem}-{i + 1:05d}-of-{shards:05d}.{ending}" for i in range(shards)]
    for file, part in zip(names, parts, strict=True):
        save(out / file, part)
    weight_map = {k: file for file, part in zip(names, parts, strict=True) for k in part}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_json(out / f"{stem}.{ending}.index.json", index)


def read_weights(folder: Path) -> State:
    """Every tensor of a checkpoint folder, by name, as float32."""
    import torch
    from safetensors.torch import load_file

    state: State = {}
    for path in sorted(folder.glob("model*.safetensors")):
        state |= load_file(path)
    for path in sorted(folder.glob("pytorch_model*.bin")):
        state |= torch.load(path, weights_only=True)
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def stored_as(state: State, dtype: Dtype) -> State:
    """Numbers in `dtype`; indices stay integers."""
    import torch

    kind = getattr(torch, TORCH_DTYPE[dtype])
    return {
        name: (tensor.to(kind) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }


def save(path: Path, tensors: State) -> None:
    import torch
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        torch.save(tensors, path)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
