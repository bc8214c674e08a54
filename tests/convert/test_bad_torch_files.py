"""PyTorch's `.bin` files are programs: none is run, and damage is found before it is exported."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.small import complaint, contents, copied, refused, run_export

if TYPE_CHECKING:
    from torch import Tensor

FILE = "pytorch_model.bin"
EMBEDDING = "transformer.embd.wte.weight"


@pytest.fixture
def checkpoint(made: Path, tmp_path: Path) -> Path:
    return copied(made / "bin", tmp_path / "checkpoint")


def weights(checkpoint: Path) -> dict[str, Tensor]:
    import torch

    state: dict[str, Tensor] = torch.load(checkpoint / FILE, weights_only=True)
    return state


def save(checkpoint: Path, value: Any, **options: Any) -> None:
    import torch

    torch.save(value, checkpoint / FILE, **options)


class Runs:
    """Unpickled, it would write the canary."""

    def __init__(self, function: Callable[..., Any], *arguments: str) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize("how", ["beside", "instead", "raw"])
@pytest.mark.parametrize("function", [os.system, eval])
def test_a_file_that_wants_to_run_code(
    function: Callable[..., Any], how: str, checkpoint: Path, out: Path, tmp_path: Path
) -> None:
    """Whoever exports a checkpoint from the net must not hand over the machine."""
    canary = tmp_path / "canary"
    texts = {os.system: f"touch '{canary}'", eval: f"open({str(canary)!r}, 'w')"}
    trap = Runs(function, texts[function])
    if how == "raw":
        (checkpoint / FILE).write_bytes(pickle.dumps(trap))
    else:
        save(checkpoint, {**weights(checkpoint), "x": trap} if how == "beside" else trap)
    message = refused(checkpoint, out, str(checkpoint / FILE))
    assert how == "raw" or "wants to run" in message
    assert not canary.exists()


def test_the_canary_would_sing(tmp_path: Path) -> None:
    """Otherwise the test above proves nothing."""
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(Runs(os.system, f"touch '{canary}'")))
    assert canary.exists()


@pytest.mark.parametrize("kept", [0, 3, 1000, -1])
def test_truncated(kept: int, checkpoint: Path, out: Path) -> None:
    """The archive's directory is at its end, so every truncation shows."""
    path = checkpoint / FILE
    path.write_bytes(path.read_bytes()[:kept])
    refused(checkpoint, out, str(path), "download it again")


def test_format_of_old_versions(checkpoint: Path, out: Path) -> None:
    """The message must name a way out, because the file is not damaged."""
    save(checkpoint, weights(checkpoint), _use_new_zipfile_serialization=False)
    refused(checkpoint, out, str(checkpoint / FILE), "before version 1.6", "safetensors")


def same_model(made: Path, checkpoint: Path, out: Path) -> None:
    run_export(checkpoint, out, bits=(16,))
    run_export(made / "phi2", out.parent / "expected", bits=(16,))
    wanted = {k: v for k, v in contents(out.parent / "expected").items() if k.endswith(".gguf")}
    assert {k: v for k, v in contents(out).items() if k.endswith(".gguf")} == wanted


def test_state_dict_inside(made: Path, checkpoint: Path, out: Path) -> None:
    """Trainers save the weights beside the epoch."""
    save(checkpoint, {"state_dict": weights(checkpoint), "epoch": 3})
    same_model(made, checkpoint, out)


def test_tensors_that_share_one_storage(made: Path, checkpoint: Path, out: Path) -> None:
    """A slice's data begin in the middle of a storage: read from its start, they are another's."""
    import torch

    state = weights(checkpoint)
    both = torch.cat([torch.zeros_like(state[EMBEDDING]), state[EMBEDDING]])
    state[EMBEDDING] = both[len(state[EMBEDDING]) :]
    save(checkpoint, {name: torch.nn.Parameter(tensor) for name, tensor in state.items()})
    same_model(made, checkpoint, out)


@pytest.mark.parametrize("value", [[1], {}, {"a": 1}, {"model": {}}, 5], ids=repr)
def test_no_tensors_by_name(value: Any, checkpoint: Path, out: Path) -> None:
    """An optimizer's state is a `.bin` too."""
    save(checkpoint, value)
    refused(checkpoint, out, str(checkpoint / FILE))


@pytest.mark.parametrize("kind", ["f64", "sparse", "transposed", "without data", "number", "key"])
def test_tensors_that_cannot_be_read(kind: str, checkpoint: Path, out: Path) -> None:
    """Each would be read as bytes that mean something else."""
    state: dict[Any, Any] = dict(weights(checkpoint))
    tensor = state.pop(EMBEDDING)
    name: Any = 7 if kind == "key" else EMBEDDING
    state[name] = {
        "f64": tensor.double,
        "sparse": tensor.to_sparse,
        "transposed": lambda: tensor.t().contiguous().t(),
        "without data": lambda: tensor.to("meta"),
        "number": lambda: 5,
        "key": lambda: tensor,
    }[kind]()
    save(checkpoint, state)
    refused(checkpoint, out, str(checkpoint / FILE), str(name), "save")


def repack(checkpoint: Path, change: Callable[[str, bytes], bytes | None], kind: int) -> None:
    """Writes the archive anew, as a zip program would."""
    path, packed = checkpoint / FILE, io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", kind) as new:
        for entry in old.infolist():
            content = change(entry.filename, old.read(entry))
            if content is not None:
                new.writestr(entry.filename, content)
    path.write_bytes(packed.getvalue())


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param(lambda _, data: data, zipfile.ZIP_DEFLATED, id="compressed"),
        pytest.param(
            lambda name, data: data[:10] if name.endswith("data/0") else data, 0, id="short storage"
        ),
        pytest.param(
            lambda name, data: None if name.endswith("data/0") else data, 0, id="storage missing"
        ),
        pytest.param(
            lambda name, data: b"big" if name.endswith("byteorder") else data, 0, id="big-endian"
        ),
        pytest.param(
            lambda name, data: None if name.endswith("data.pkl") else data, 0, id="no pickle"
        ),
    ],
)
def test_archives_that_were_changed(
    change: Callable[[str, bytes], bytes | None], kind: int, checkpoint: Path, out: Path
) -> None:
    """What is read at the offset of a tensor must be that tensor, or other weights are exported."""
    repack(checkpoint, change, kind)
    refused(checkpoint, out, str(checkpoint / FILE))


def test_another_layout_of_the_archive(made: Path, checkpoint: Path, out: Path) -> None:
    """PyTorch predicts where data lie; in an archive that another program wrote it is wrong, and
    the bytes there are another tensor's."""
    repack(checkpoint, lambda _, data: data, zipfile.ZIP_STORED)
    if message := complaint(checkpoint):
        assert str(checkpoint / FILE) in message
    else:  # versions of PyTorch that look the offsets up
        same_model(made, checkpoint, out)


def test_without_pytorch(checkpoint: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch is no dependency; the message must say how to get it."""
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    refused(checkpoint, out, str(checkpoint / FILE), "imp-deploy[torch]", "use the safetensors")
