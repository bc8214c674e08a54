"""A checkpoint on disk: its configuration, and where each tensor lies in which file.

Weights are never mapped or loaded as a whole: a `Tensor` knows file and offset, and rows are read
from there. That keeps memory flat whatever the checkpoint's size.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imp_deploy.convert import safetensors_file, torch_file
from imp_deploy.convert.families.base import short
from imp_deploy.convert.tensor import ELEMENT_BYTES, Tensor
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

_SINGLE = ("model.safetensors", "pytorch_model.bin")
ADAPTER_CONFIG = "adapter_config.json"
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` by name; `weight_files` in the order they were found."""

    folder: Path
    config: dict[str, Any]
    tensors: Mapping[str, Tensor]
    weight_files: tuple[Path, ...]


def open_checkpoint(folder: Path) -> Checkpoint:
    """Reads configuration and tensor headers; no weights yet."""
    require_folder(folder)
    _refuse_adapter(folder)
    config = read_json_object(folder / "config.json")
    weight_files, listed = find_weights(folder)
    tensors: dict[str, Tensor] = {}
    for path in weight_files:
        for tensor in read_header(path):
            if tensor.name in tensors:
                raise BadInput(
                    f"{path.name} and {tensors[tensor.name].path.name} in {folder} both hold the "
                    f"tensor {tensor.name}; remove the stale shard."
                )
            tensors[tensor.name] = tensor
    if not tensors:
        raise BadInput(f"{folder} holds weight files without any tensor; download them again.")
    if listed is not None:
        _check_index(folder, listed, tensors)
    return Checkpoint(folder, config, tensors, weight_files)


def require_folder(path: Path) -> None:
    try:
        there = path.is_dir()
    except OSError:  # longer than a path can be, or in a folder that is closed to us
        there = False
    if not there:
        raise BadInput(
            f"{path} is not a folder; give a checkpoint folder with config.json and weights, or a "
            "hub id like MILVLG/imp-v1-3b."
        )


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a LoRA adapter and no whole model beside it."""
    whole = any((folder / name).is_file() for name in (*_SINGLE, *_INDEXES))
    return (folder / ADAPTER_CONFIG).is_file() and not whole


def _refuse_adapter(folder: Path) -> None:
    if is_adapter(folder):
        named = read_json_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        raise BadInput(
            f"{folder} is a LoRA adapter (it holds {ADAPTER_CONFIG}) and no whole model; to "
            f"merge them, give the model that it was trained on"
            f"{f' ({short(named)})' if named else ''} with --base."
        )


def find_weights(folder: Path) -> tuple[tuple[Path, ...], Mapping[str, str] | None]:
    """The weight files, and for shards the index: tensor name -> file name."""
    for single, index in zip(_SINGLE, _INDEXES, strict=True):
        if (folder / index).is_file():
            listed = _read_index(folder, folder / index)
            return _present(folder, sorted(set(listed.values()))), listed
        if (folder / single).is_file():
            return (folder / single,), None
    shards = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if len(shards) == 1 and "-of-" not in shards[0].name:
        return (shards[0],), None
    if shards:
        raise BadInput(
            f"{folder} holds weight shards ({shards[0].name}, {len(shards)} in all) and no index "
            f"({' or '.join(_INDEXES)}); download the index too."
        )
    if adapters := sorted(path.parent.name for path in folder.glob(f"*/{ADAPTER_CONFIG}")):
        raise BadInput(
            f"{folder} holds no weights, but LoRA adapters in folders of its own; give one of them "
            f"({', '.join(adapters)}) as the model."
        )
    raise BadInput(
        f"{folder} holds no weights ({', '.join(_SINGLE)} or shards with an index); check the "
        "path, or finish the download."
    )


def _read_index(folder: Path, path: Path) -> dict[str, str]:
    listed = read_json_object(path).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise BadInput(f"{path} has no weight_map; download it again.")
    for name, file in listed.items():
        if not isinstance(file, str) or not _is_plain(file):
            raise BadInput(
                f"{path} places the tensor {name} in {short(file)}, which is no file of the folder "
                f"{folder}; use the index that belongs to the shards."
            )
    return listed


def _is_plain(name: str) -> bool:
    """Whether it is the name of a file, without any folder."""
    odd = "/" in name or "\0" in name or name in ("", ".", "..")
    return not odd and len(os.fsencode(name)) <= 255


def _present(folder: Path, names: Iterable[str]) -> tuple[Path, ...]:
    paths = tuple(folder / name for name in names)
    if missing := [path.name for path in paths if not path.is_file()]:
        raise BadInput(f"{folder} lacks the shards {missing} that its index names; download them.")
    for path in paths:
        _refuse_outside(folder, path)
    return paths


def _refuse_outside(folder: Path, path: Path) -> None:
    """A shard lies in the folder, or is the hub cache's link from a snapshot to a blob."""
    real = path.resolve()
    blob = real.parent.name == "blobs" and real.parent.parent.name.startswith("models--")
    if not blob and not real.is_relative_to(folder.resolve()):
        raise BadInput(
            f"{path} is a link to {real}, outside the checkpoint folder and the hub's cache; if "
            "you trust it, put the file itself there."
        )


def _check_index(folder: Path, listed: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    if missing := sorted(set(listed) - set(tensors)):
        raise BadInput(
            f"The shards in {folder} lack tensors that the index names ({len(missing)} in all, the "
            f"first is {missing[0]} in {listed[missing[0]]}); download that shard again."
        )
    for name, tensor in tensors.items():
        if name in listed and tensor.path.name != listed[name]:
            raise BadInput(
                f"{folder}: the index places the tensor {name} in {listed[name]}, and it is in "
                f"{tensor.path.name}; download index and shards again."
            )


def read_header(path: Path) -> list[Tensor]:
    """The tensors of a weights file, none of them read."""
    if path.suffix == ".safetensors":
        return safetensors_file.read_header(path)
    return torch_file.read_header(path)


def read_rows(tensor: Tensor, first: int, count: int, handle: int) -> np.ndarray[Any, Any]:
    """Rows [first, first+count) of the tensor seen as [rows, columns], as raw little-endian
    elements, flat; `handle` is an open file descriptor of `tensor.path`."""
    width = tensor.columns * ELEMENT_BYTES[tensor.dtype]
    buffer = np.empty(count * width, dtype=np.uint8)
    view, position = buffer.data, tensor.offset + first * width
    while view:
        try:
            got = os.preadv(handle, [view], position)
        except OSError as error:
            raise BadInput(
                f"{tensor.path} cannot be read at the tensor {tensor.name} ({error.strerror}); "
                "check the disk, or download the file again."
            ) from None
        if got == 0:
            raise BadInput(
                f"{tensor.path} ends inside the tensor {tensor.name}; download the file again."
            )
        view, position = view[got:], position + got
    return buffer
