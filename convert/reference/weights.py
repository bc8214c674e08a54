"""Reads a checkpoint's weights for the PyTorch reference, apart from the exporter's own readers, so
that a fault in those shows as lost parity."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

_KINDS = (
    ("model.safetensors.index.json", "model*.safetensors"),
    ("pytorch_model.bin.index.json", "pytorch_model*.bin"),
)


def read_weights(folder: Path) -> State:
    """All tensors as they are stored; the files stay mapped, nothing is copied yet."""
    for index, pattern in _KINDS:
        files = sorted(folder.glob(pattern))
        if (folder / index).is_file():
            weight_map = read_json_object(folder / index)["weight_map"]
            files = [folder / name for name in sorted(set(weight_map.values()))]
        if not files:
            continue
        weights: State = {}
        for file in files:
            part = read_file(file)
            if twice := weights.keys() & part.keys():
                raise BadInput(
                    f"{file} holds {sorted(twice)[0]}, which another shard holds too; download the "
                    "checkpoint again."
                )
            weights |= part
        return weights
    raise BadInput(
        f"{folder} has no model*.safetensors and no pytorch_model*.bin; check the folder."
    )


def read_file(path: Path) -> State:
    """The tensors of one .safetensors or torch.save file, mapped."""
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        mapped = zipfile.is_zipfile(path)  # the format before torch 1.6 cannot be mapped
        loaded: State = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        return loaded
    except Exception as error:  # each library has its own errors for a broken file
        said = " ".join(str(error).split())
        raise BadInput(f"{path} cannot be read ({said}); download it again.") from error
