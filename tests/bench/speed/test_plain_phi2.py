"""The checkpoint that the pipeline is given: the converter takes it, and it is the same model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFReader

from imp_deploy.bench import full_size
from imp_deploy.bench.speed import plain_phi2
from imp_deploy.bench.speed.pipeline import convert_and_quantize
from imp_deploy.bench.speed.same import differences
from imp_deploy.convert.export import export
from imp_deploy.convert.plan import Options
from imp_deploy.demo.checkpoint import hub_config
from tests.checkpoints import make_checkpoint
from tests.quiet import Quiet


def config() -> dict[str, object]:
    """As `full_size` writes it, of two layers."""
    return plain_phi2.config_of(
        hub_config()
        | {
            "vocab_size": full_size.ROWS,
            "n_embd": full_size.HIDDEN,
            "n_layer": 2,
            "n_head": 32,
            "n_inner": full_size.INNER,
            "rotary_dim": 32,
            "n_positions": 3072,
        }
    )


def test_every_tensor_of_transformers_phi_is_there() -> None:
    """The converter would otherwise have less to do than we, or refuse."""
    import torch
    from transformers import PhiConfig, PhiForCausalLM

    given = {k: v for k, v in config().items() if k != "architectures"}
    with torch.device("meta"):
        wanted = {
            name: tuple(value.shape)
            for name, value in PhiForCausalLM(PhiConfig(**given)).state_dict().items()
        }
    found = {}
    for name, shape in full_size.shapes(2):
        targets = plain_phi2.names_of(name)
        for target in targets:
            found[target] = (shape[0] // len(targets), *shape[1:])
    assert found == wanted


def test_the_pipeline_makes_the_model_that_export_makes(vocabularies: Path, tmp_path: Path) -> None:
    """The whole benchmark on a small model: the converter takes the checkpoint and its tokenizer,
    of whose behaviour it knows a hash, and all files hold the same language model."""
    checkpoint = make_checkpoint(
        tmp_path / "Imp", family="phi2", naming="hub", tokenizer="real", vocabularies=vocabularies
    )
    plain, theirs, ours = tmp_path / "plain", tmp_path / "theirs", tmp_path / "ours"
    plain_phi2.make_plain(checkpoint, plain)
    run = convert_and_quantize(plain, theirs, ("Q8_0", "Q4_0"))
    assert run["seconds"] >= run["seconds_convert"] + run["seconds_Q8_0"] + run["seconds_Q4_0"]
    assert run["peak_mb"] > 100  # Python with PyTorch
    assert GGUFReader(theirs / "F16.gguf").fields["tokenizer.ggml.pre"].contents() == "phi-2"
    export(checkpoint, ours, Options(resolutions=(196,)), progress=Quiet())
    for kind in ("F16", "Q8_0", "Q4_0"):
        different, count = differences(ours / f"Imp-{kind}.gguf", theirs / f"{kind}.gguf")
        assert (different, count > 10) == ([], True), kind


def test_the_same_model_under_other_names(tmp_path: Path) -> None:
    """The two language models of the benchmark are compared in the end; one changed byte shows."""
    files = []
    for naming in ("hub", "train"):
        checkpoint = make_checkpoint(tmp_path / naming, family="phi2", naming=naming)  # type: ignore[arg-type]
        out = tmp_path / f"{naming}-out"
        export(checkpoint, out, Options(bits=(4,), resolutions=(196,)), progress=Quiet())
        files += out.glob("*-Q4_0.gguf")
    fused, split = files
    different, count = differences(fused, split)
    assert (different, count) == ([], len(GGUFReader(fused).tensors))
    tensor = GGUFReader(fused).tensors[3]
    data = np.memmap(split, np.uint8, "r+")
    changed = next(t for t in GGUFReader(split).tensors if t.name == "blk.0.attn_v.weight")
    data[int(changed.data_offset) + 5] ^= 1
    data.flush()
    assert differences(fused, split)[0] == ["blk.0.attn_qkv.weight"]
    assert tensor.n_elements > 0
