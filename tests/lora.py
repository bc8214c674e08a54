"""LoRA folders for tests, and in small what the exporter does with one."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imp_deploy.convert.adapter import Adapter
from imp_deploy.convert.checkpoint import read_rows
from imp_deploy.convert.low_rank import LowRank, Part, add
from imp_deploy.convert.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
PREFIX = "base_model.model."
Q = "model.layers.0.self_attn.q_proj"
FC1 = "model.layers.1.mlp.fc1"
SETTINGS: dict[str, Any] = {
    "peft_type": "LORA",
    "base_model_name_or_path": "microsoft/phi-2",
    "r": 4,
    "lora_alpha": 8,
    "bias": "none",
}


@contextlib.contextmanager
def opened(*paths: Path) -> Iterator[dict[Path, int]]:
    handles = {path: os.open(path, os.O_RDONLY) for path in paths}
    try:
        yield handles
    finally:
        for handle in handles.values():
            os.close(handle)


def merged(
    base: Array, parts: Sequence[Part], step: int | None = None
) -> tuple[Array, list[bytes]]:
    """The weight with `parts` added, `step` rows at a time, and the digests of the pieces."""
    values = np.array(base, dtype=np.float32)
    files = {t.path for part in parts for t in (part.low_rank.a, part.low_rank.b)}
    with opened(*files) as handles:
        digests = [
            add(values[first : first + step], first, parts, handles)
            for step in (step or len(values),)
            for first in range(0, len(values), step)
        ]
    return values, digests


def everything(low_rank: LowRank) -> list[Part]:
    return [Part(low_rank, 0, 0, low_rank.b.rows)]


def read(tensor: Tensor) -> Array:
    """The tensor in float32, by PyTorch."""
    import torch

    with opened(tensor.path) as handles:
        raw = read_rows(tensor, 0, tensor.rows, handles[tensor.path])
    kind = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}[tensor.dtype]
    values: Array = torch.from_numpy(raw).view(kind).reshape(tensor.shape).float().numpy()
    return values


def applied(adapter: Adapter, base: Mapping[str, Array]) -> dict[str, Array]:
    """The base model with the adapter merged in."""
    result = {**base, **{name: read(tensor) for name, tensor in adapter.whole.items()}}
    for module, low_rank in adapter.modules.items():
        weight = f"{module}.weight"
        result[weight], _ = merged(result[weight], everything(low_rank), step=7)
    return result


def write(folder: Path, tensors: Mapping[str, Any], **settings: Any) -> Path:
    """An adapter folder with the tensors under PEFT's prefix, as safetensors."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    values = {PREFIX + name: torch.as_tensor(value).clone() for name, value in tensors.items()}
    save_file(values, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({**SETTINGS, **settings}))
    return folder


def matrices(*modules: str, rank: int = 4, rows: int = 16, columns: int = 8) -> dict[str, Array]:
    random = np.random.default_rng(len(modules))
    return {
        f"{module}.lora_{letter}.weight": random.standard_normal(shape).astype(np.float32)
        for module in modules
        for letter, shape in (("A", (rank, columns)), ("B", (rows, rank)))
    }


def as_bin(folder: Path) -> None:
    """The same weights as PEFT wrote them before safetensors."""
    import torch
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    torch.save(load_file(path), folder / "adapter_model.bin")
    path.unlink()
