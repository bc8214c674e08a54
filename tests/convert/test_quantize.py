"""Q8_0 and Q4_0 files are, tensor by tensor, what the pinned llama-quantize makes of the F16."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, LlamaFileType

from imp_deploy.convert.export import export
from imp_deploy.convert.plan import Options
from tests.checkpoints import Sizes, make_checkpoint
from tests.quiet import Quiet

SIZES = {
    "whole blocks": Sizes(),
    # Rows of 160 are whole blocks of 32 but not of 256: the head falls back from Q6_K.
    "no blocks of 256": Sizes(hidden=160, heads=4, rotary=24, inner=320),
    # Rows of 72 are not even blocks of 32: F16.
    "no blocks at all": Sizes(hidden=72, heads=2, rotary=24, inner=96),
}


def stock_quantize(source: Path, target: Path, kind: LlamaFileType) -> None:
    """`llama-quantize SOURCE TARGET KIND`, which is a thin program around this function."""
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = int(kind)
    parameters.nthread = 2
    status = llama_cpp.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(parameters)
    )
    assert status == 0


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("family", ["phi2", "qwen2", "phi3", "llava"])
def test_bytes_equal_llama_quantize(family: str, sizes: str, dtype: str, tmp_path: Path) -> None:
    """Otherwise our 4 bits are another 4 bits than everybody's, and no figure can be compared."""
    checkpoint = make_checkpoint(
        tmp_path / "Imp",
        family=family,  # type: ignore[arg-type]
        naming="train",
        dtype=dtype,  # type: ignore[arg-type]
        sizes=SIZES[sizes],
    )
    out = tmp_path / "bundle"
    export(checkpoint, out, Options(resolutions=(196,)), progress=Quiet())
    for name, kind in (
        ("Q8_0", LlamaFileType.MOSTLY_Q8_0),
        ("Q4_0", LlamaFileType.MOSTLY_Q4_0),
    ):
        stock_quantize(out / "Imp-F16.gguf", tmp_path / "stock.gguf", kind)
        ours = {t.name: t for t in GGUFReader(out / f"Imp-{name}.gguf").tensors}
        theirs = {t.name: t for t in GGUFReader(tmp_path / "stock.gguf").tensors}
        assert ours.keys() == theirs.keys()
        for tensor in ours:
            assert ours[tensor].tensor_type == theirs[tensor].tensor_type, tensor
            assert np.array_equal(ours[tensor].data, theirs[tensor].data), tensor


def test_metadata_equals_llama_quantize(tmp_path: Path) -> None:
    """Tools that read `general.file_type` must see what they would see in a stock file."""
    checkpoint = make_checkpoint(tmp_path / "Imp", family="phi2", naming="hub")
    out = tmp_path / "bundle"
    export(checkpoint, out, Options(resolutions=(196,)), progress=Quiet())
    stock_quantize(out / "Imp-F16.gguf", tmp_path / "stock.gguf", LlamaFileType.MOSTLY_Q4_0)
    ours, theirs = GGUFReader(out / "Imp-Q4_0.gguf"), GGUFReader(tmp_path / "stock.gguf")
    counts = {"GGUF.kv_count"}
    assert {k: f.contents() for k, f in ours.fields.items() if k not in counts} == {
        k: f.contents() for k, f in theirs.fields.items() if k not in counts
    }
