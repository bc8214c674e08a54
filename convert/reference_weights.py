"""Reads a checkpoint's weights for the PyTorch reference, apart from the exporter's own readers, so
that a fault in those shows as lost parity."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]


def read_weights(folder: Path) -> State:
    """All tensors as they are stored; the files stay mapped, nothing is copied yet."""
    import torch
    from safetensors.torch import load_file

    def read_bin(path: Path) -> State:
        mapped = zipfile.is_zipfile(path)  # the format before torch 1.6 cannot be mapped
        loaded: State = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        return loaded

    kinds: tuple[tuple[str, str, Callable[[Path], State]], ...] = (
        ("model.safetensors.index.json", "model*.safetensors", load_file),
        ("pytorch_model.bin.index.json", "pytorch_model*.bin", read_bin),
    )
    for index, pattern, read in kinds:
        files = sorted(folder.glob(pattern))
        if (folder / index).is_file():
            weight_map = read_json_object(folder / index)["weight_map"]
            files = [folder / name for name in sorted(set(weight_map.values()))]
        if not files:
            continue
        weights: State = {}
        for file in files:
            try:
                part = read(file)
            except Exception as error:  # each library has its own errors for a broken file
                raise BadInput(f"{file}: {error}") from error
            if twice := weights.keys() & part.keys():
                raise BadInput(f"{file}: stored before in another shard: {sorted(twice)}")
            weights |= part
        return weights
    raise BadInput(f"{folder}: no model*.safetensors and no pytorch_model*.bin")
