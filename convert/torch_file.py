"""Headers of PyTorch `.bin` files, read with PyTorch's restricted unpickler.

`weights_only` loading means that a checkpoint cannot run code. Under `FakeTensorMode` no data is
read: each storage only reports where in the file its bytes begin.
"""

from __future__ import annotations

import zipfile
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
    if not zipfile.is_zipfile(path):
        raise BadInput(
            f"{path} is truncated or in PyTorch's format from before version 1.6; download it "
            "again, or save it as safetensors."
        )
    try:
        with FakeTensorMode():
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler meets in a foreign file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise BadInput(
            f"{path} cannot be loaded as plain weights ({reason}); it is damaged or wants to run "
            "code, so download it again or save it as safetensors."
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise BadInput(f"{path} holds no tensors by name; use the model's weights file.")
    return [_tensor(path, name, value) for name, value in state.items()]


def _tensor(path: Path, name: Any, value: Any) -> Tensor:
    dtype = _DTYPES.get(str(getattr(value, "dtype", "")).removeprefix("torch."))
    if not isinstance(name, str) or dtype is None:
        raise BadInput(
            f"{path}: the entry {name} is not a tensor of type {', '.join(_DTYPES)}; save the "
            "checkpoint's weights in one of these."
        )
    if not value.is_contiguous():
        raise BadInput(
            f"{path}: the tensor {name} is a strided view; save the checkpoint as safetensors."
        )
    start = value.untyped_storage()._checkpoint_offset
    offset = start + value.storage_offset() * value.element_size()
    return Tensor(name=name, path=path, dtype=dtype, shape=tuple(value.shape), offset=offset)
