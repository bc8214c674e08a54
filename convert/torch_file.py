"""Headers of PyTorch `.bin` files, read with PyTorch's restricted unpickler.

`weights_only` loading means that a checkpoint cannot run code. Under `FakeTensorMode` no data is
read: each storage only reports where in the file its bytes begin.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imp_deploy.convert.tensor import Tensor
from imp_deploy.errors import BadInput

_DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "int64": "I64", "bool": "BOOL"}


def read_header(path: Path) -> list[Tensor]:
    """Every tensor in the file with the offset of its data."""
    try:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode
    except ImportError:
        raise BadInput(
            f"{path} is a PyTorch file and PyTorch is not installed; run "
            "`pip install 'imp-deploy[torch]'`, or use the safetensors weights."
        ) from None
    records = _records(path)
    try:
        with FakeTensorMode():
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler meets in a foreign file
        raise BadInput(
            f"{path} cannot be loaded as plain weights ({_reason(error)}); download it again, or "
            "have it saved as safetensors."
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise BadInput(f"{path} holds no tensors by name; use the model's weights file.")
    return [_tensor(path, name, value, records) for name, value in state.items()]


def _reason(error: Exception) -> str:
    """Without PyTorch's advice, which is to let the file run its code."""
    if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it wants to run {named[1]}"
    if isinstance(error, pickle.UnpicklingError):
        return "it holds more than tensors, or is damaged"
    text = str(error).strip() or type(error).__name__
    return re.split(r"[.:]?\s*\n|\. ", text)[0][:150]


def _records(path: Path) -> dict[int, int]:
    """Size in bytes of each record of the archive, by the offset in the file where it begins."""
    records: dict[int, int] = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise BadInput(
                        f"{path} is compressed inside ({entry.filename}), which PyTorch never "
                        "does; download it again."
                    )
                if entry.filename.endswith("/byteorder") and archive.read(entry) != b"little":
                    raise BadInput(
                        f"{path} was written on a big-endian machine; save it as safetensors."
                    )
                file.seek(entry.header_offset + 26)
                name, extra = struct.unpack("<HH", file.read(4))
                records[entry.header_offset + 30 + name + extra] = entry.file_size
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, struct.error) as error:
        raise BadInput(
            f"{path} is no PyTorch file ({error}): it is truncated, or in the format from before "
            "version 1.6; download it again, or save it as safetensors."
        ) from None
    return records


def _tensor(path: Path, name: Any, value: Any, records: Mapping[int, int]) -> Tensor:
    import torch

    dtype = _DTYPES.get(str(getattr(value, "dtype", "")).removeprefix("torch."))
    if not isinstance(name, str) or not isinstance(value, torch.Tensor) or dtype is None:
        raise BadInput(
            f"{path}: the entry {name} is not a tensor of type {', '.join(_DTYPES)}; save the "
            "checkpoint's weights in one of these."
        )
    if value.layout != torch.strided or not value.is_contiguous():
        raise BadInput(
            f"{path}: the tensor {name} is sparse or a strided view; save the checkpoint as "
            "safetensors."
        )
    start: Any = getattr(value.untyped_storage(), "_checkpoint_offset", None)
    skipped = int(value.storage_offset()) * value.element_size()
    if start not in records or skipped + value.numel() * value.element_size() > records[start]:
        raise BadInput(
            f"{path}: the data of the tensor {name} is not where the file says; download it again, "
            "or save it as safetensors."
        )
    return Tensor(
        name=name, path=path, dtype=dtype, shape=tuple(value.shape), offset=start + skipped
    )
