"""A LoRA folder and its base become the bundle of the model that PEFT would merge."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.numpy import load_file

from imp_deploy.convert import ggml, piece
from imp_deploy.convert.export import export
from imp_deploy.convert.hub import Located
from imp_deploy.convert.plan import Options
from imp_deploy.convert.reference import load_reference
from imp_deploy.convert.verify import Bounds, failures, verify
from imp_deploy.errors import BadInput
from tests.checkpoints import Sizes, make_checkpoint, make_lora, make_plain, tower_of
from tests.pictures import write_all
from tests.quiet import Quiet
from tests.small import edit_json, edit_weights

SIZES = Sizes(kv_heads=2)
# Which GGUF tensor holds which rows of a module: the fused ones are split here as PEFT has them.
COMMON = {
    "self_attn.o_proj": "attn_output",
    "self_attn.dense": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
    "mlp.gate_up_proj": "ffn_up",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
}
PLAIN = {"phi2": "phi2", "qwen2": "qwen2", "phi3": "phi3", "llava": "llama", "mobilevlm2": "llama"}


def peft_merge(base: Path, adapter: Path) -> dict[str, Any]:
    """The merged language model in float32, by PEFT."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT, of transformers
        merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return {name: value.detach().numpy() for name, value in merged.state_dict().items()}


def as_stored(values: Any, name: str, llama: bool, sizes: Sizes) -> Any:
    """In the order of llama.cpp, which rotates LLaMA's heads in pairs of neighbours."""
    counts = {"attn_q": sizes.heads, "attn_k": sizes.kv_heads or sizes.heads}
    heads = next((n for part, n in counts.items() if f".{part}." in name), None)
    if not llama or heads is None:
        return values
    rows = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return rows.swapaxes(1, 2).reshape(values.shape)


def gguf_name(module: str) -> str:
    """`model.layers.0.mlp.fc1.weight` -> `blk.0.ffn_up.weight`; norms, table and head too."""
    ends = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "model.final_layernorm.weight": "output_norm.weight",
        "model.final_layernorm.bias": "output_norm.bias",
        "lm_head.weight": "output.weight",
        "lm_head.bias": "output.bias",
    }
    if module in ends:
        return ends[module]
    _, _, layer, rest = module.split(".", 3)
    name, kind = rest.rsplit(".", 1)
    norms = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    return f"blk.{layer}.{(COMMON | norms)[name]}.{kind}"


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("phi2", {}),
        ("phi2", {"weights": "bin", "keys": "default", "dtype": "bf16", "rslora": True}),
        ("phi2", {"targets": ("q_proj", "fc2"), "modules_to_save": ("lm_head",)}),
        (
            "qwen2",
            {"dtype": "f32", "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"up_proj": 3.0}},
        ),
        ("phi3", {"rank": 5, "alpha": 7}),
        ("llava", {"weights": "bin", "rslora": True}),
        ("mobilevlm2", {"rank_pattern": {r"layers\.1\.mlp\.down_proj": 3}}),
    ],
)
def test_every_tensor_is_what_peft_merges(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Otherwise the phone runs another model than the one that was trained and evaluated."""
    sizes = Sizes() if family == "phi2" else SIZES
    base = make_plain(tmp_path / "base", PLAIN[family], sizes=sizes, dtype="bf16")  # type: ignore[arg-type]
    adapter = make_lora(
        tmp_path / "lora",
        base,
        family=family,  # type: ignore[arg-type]
        naming="train",
        tower="inside",
        sizes=sizes,
        **options,
    )
    export(adapter, tmp_path / "out", Options(bits=(16,), name="Imp"), base=base, progress=Quiet())
    ours = {t.name: t.data for t in GGUFReader(tmp_path / "out" / "Imp-F16.gguf").tensors}
    theirs = peft_merge(base, adapter)
    assert {gguf_name(name) for name in theirs} == set(ours)
    for name, values in theirs.items():
        target = gguf_name(name)
        wanted = as_stored(values, target, PLAIN[family] == "llama", sizes)
        got = ours[target].astype(np.float64)
        assert got.shape == wanted.shape
        # One rounding to F16 (2^-11), and sums of float32 in another order.
        allowed = np.abs(wanted) * 2.0**-11 * 1.001 + 1e-6
        assert (np.abs(got - wanted) <= allowed).all(), name


@pytest.mark.parametrize(
    ("base_naming", "naming"), [("hub", "train"), ("train", "hub"), ("hub", "hub")]
)
def test_an_adapter_of_other_names_is_the_same_model(
    base_naming: str, naming: str, tmp_path: Path
) -> None:
    """Phi-2 has one fused projection in its old files and three in its new ones: who trained on one
    may export with the other. The reference merges by itself."""
    base = make_plain(tmp_path / "base", "phi2", base_naming)  # type: ignore[arg-type]
    adapter = make_lora(
        tmp_path / "lora",
        base,
        family="phi2",
        naming=naming,
        tower="separate",  # type: ignore[arg-type]
    )
    out = tmp_path / "out"
    tower = tower_of(adapter)
    exported = export(
        adapter,
        out,
        Options(bits=(16,), resolutions=(196,)),
        base=base,
        tower=tower,
        progress=Quiet(),
    )
    rows = verify(
        out,
        exported.bundle,
        Located(adapter, tower, "lora", base),
        [write_all(tmp_path)["landscape"]],
        question="What is in the picture?",
        max_tokens=12,
    )
    assert failures(rows, Bounds()) == []
    assert rows[0].worst_cosine > 0.99999


def test_an_adapter_of_a_whole_imp(tmp_path: Path) -> None:
    """Who fine-tunes Imp itself has a base with tower and projector; what was trained replaces the
    base's, and the rest stays."""
    base = make_checkpoint(tmp_path / "base", family="phi2", naming="train", aspect="pad")
    adapter = make_lora(tmp_path / "lora", base, family="phi2", naming="train", projector=False)
    exported = export(
        adapter,
        tmp_path / "out",
        Options(bits=(16,), resolutions=(196,), name="Imp"),
        base=base,
        progress=Quiet(),
    )
    alone = tmp_path / "alone"
    export(base, alone, Options(bits=(16,), resolutions=(196,), name="Imp"), progress=Quiet())
    assert exported.bundle.source.family == "imp-phi2"
    ours, theirs = (
        {t.name: t.data for t in GGUFReader(folder / "mmproj-Imp-196-F16.gguf").tensors}
        for folder in (tmp_path / "out", alone)
    )
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    merged, plain = (
        {t.name: t.data for t in GGUFReader(folder / "Imp-F16.gguf").tensors}
        for folder in (tmp_path / "out", alone)
    )
    changed = {name for name in plain if not np.array_equal(plain[name], merged[name])}
    assert changed == {n for n in plain if ".attn_" in n or ".ffn_" in n} - {
        n for n in plain if n.endswith((".bias", "norm.weight"))
    }


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
def test_pieces_of_any_size_give_the_same_files(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full-size tensor is read in dozens of pieces, the small ones of these tests in one: rows of
    a head that are put in order, and rows of B, must be the right ones in every piece."""
    base = make_plain(tmp_path / "base", "llama", sizes=SIZES, dtype=dtype)  # type: ignore[arg-type]
    adapter = make_lora(
        tmp_path / "lora", base, family="llava", naming="train", tower="inside", sizes=SIZES
    )
    written = []
    for elements in (piece.PIECE_ELEMENTS, 20_000):
        monkeypatch.setattr(piece, "PIECE_ELEMENTS", elements)
        out = tmp_path / str(elements)
        export(adapter, out, Options(name="Imp"), base=base, progress=Quiet())
        written.append({p.name: p.read_bytes() for p in out.glob("*.gguf")})
    assert written[0] == written[1]
    assert len(written[0]) == 5


def test_an_adapter_of_the_tower_and_the_projector(tmp_path: Path) -> None:
    """Rare, and PEFT allows it: every linear layer that is exported may be adapted."""
    base = make_checkpoint(tmp_path / "base", family="llava", naming="train")
    adapter = make_lora(tmp_path / "lora", base, family="llava", naming="train", projector=False)
    rng = np.random.default_rng(0)
    weights = load_file(base / "model.safetensors")
    tower = "model.vision_tower.vision_tower.vision_model.encoder.layers.0.mlp.fc1"
    modules = {tower: "v.blk.0.ffn_up.weight", "model.mm_projector.2": "mm.2.weight"}
    wanted = {}

    def change(tensors: dict[str, Any]) -> None:
        for module, target in modules.items():
            rows, columns = weights[f"{module}.weight"].shape
            a = rng.standard_normal((8, columns)).astype(np.float16)
            b = rng.standard_normal((rows, 8)).astype(np.float16)
            tensors[f"base_model.model.{module}.lora_A.weight"] = a
            tensors[f"base_model.model.{module}.lora_B.weight"] = b
            delta = 2.0 * b.astype(np.float64) @ a.astype(np.float64)  # alpha 16 / rank 8
            wanted[target] = weights[f"{module}.weight"].astype(np.float64) + delta

    edit_weights(adapter / "adapter_model.safetensors", change)
    options = Options(bits=(16,), name="Imp")
    export(adapter, tmp_path / "out", options, base=base, progress=Quiet())
    path = tmp_path / "out" / "mmproj-Imp-336-F16.gguf"
    ours = {t.name: t.data for t in GGUFReader(path).tensors}
    for target, values in wanted.items():
        assert np.allclose(ours[target].astype(np.float64), values, rtol=2.0**-11, atol=1e-5)


@pytest.mark.parametrize("model_type", ["llava", "llava_llama"])
def test_the_architecture_of_the_base_stays_in_the_config(model_type: str, tmp_path: Path) -> None:
    """As the training codes save it: liuhaotian/llava-v1.5-7b-lora says LlamaForCausalLM."""
    base = make_plain(tmp_path / "base", "llama")
    adapter = make_lora(tmp_path / "lora", base, family="llava", naming="train", tower="inside")
    edit_json(
        adapter / "config.json",
        lambda c: c.update(model_type=model_type, architectures=["LlamaForCausalLM"]),
    )
    exported = export(adapter, tmp_path / "out", Options(bits=(16,)), base=base, progress=Quiet())
    assert exported.bundle.source.family == "llava"
    load_reference(adapter, base=base)


def test_the_same_adapter_again_is_recognised(tmp_path: Path) -> None:
    """Nothing is written a second time; another adapter in the same folder is refused, because the
    files would be those of another model."""
    base = make_plain(tmp_path / "base", "phi2", "train")
    one, two = (
        make_lora(
            tmp_path / f"lora{seed}", base, family="phi2", naming="train", tower="inside", seed=seed
        )
        for seed in (1, 2)
    )
    options = Options(bits=(16,), resolutions=(196,), name="Imp")
    out = tmp_path / "out"
    export(one, out, options, base=base, progress=Quiet())
    assert export(one, out, options, base=base, progress=Quiet()).written == ()
    weights = one / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes())  # another time, the same content
    assert export(one, out, options, base=base, progress=Quiet()).written == ()
    weights.write_bytes((two / "adapter_model.safetensors").read_bytes())
    with pytest.raises(BadInput, match="another checkpoint"):
        export(one, out, options, base=base, progress=Quiet())


def test_the_same_adapter_in_another_file_is_the_same(tmp_path: Path) -> None:
    """PEFT sorts the tensors of a safetensors file and not those of a `.bin`."""
    base = make_plain(tmp_path / "base", "phi2", "hub")
    out = tmp_path / "out"
    for kind in ("safetensors", "bin"):
        adapter = make_lora(
            tmp_path / kind,
            base,
            family="phi2",
            naming="train",
            tower="inside",
            weights=kind,  # type: ignore[arg-type]
        )
        options = Options(bits=(16,), resolutions=(196,), name="Imp")
        exported = export(adapter, out, options, base=base, progress=Quiet())
    assert exported.written == ()


def test_another_adapter_of_the_same_time_is_another(tmp_path: Path) -> None:
    """Archives and build systems give every file one time; the sizes are equal anyway."""
    base = make_plain(tmp_path / "base", "phi2", "train")
    options = Options(bits=(16,), resolutions=(196,), name="Imp")
    for seed in (1, 2):
        adapter = make_lora(
            tmp_path / f"{seed}" / "lora",
            base,
            family="phi2",
            naming="train",
            tower="inside",
            seed=seed,
        )
        for file in adapter.iterdir():
            os.utime(file, ns=(0, 0))
        if seed == 1:
            export(adapter, tmp_path / "out", options, base=base, progress=Quiet())
    with pytest.raises(BadInput, match="another checkpoint"):
        export(adapter, tmp_path / "out", options, base=base, progress=Quiet())


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("adapter_config.json", {"lora_alpha": 17}),
        ("config.json", {"image_aspect_ratio": "pad"}),
    ],
)
def test_other_settings_are_another_model(
    file: str, change: dict[str, Any], tmp_path: Path
) -> None:
    """The weights are the same files, and the model is not."""
    base = make_plain(tmp_path / "base", "phi2", "train")
    adapter = make_lora(tmp_path / "lora", base, family="phi2", naming="train", tower="inside")
    options = Options(bits=(16,), resolutions=(196,), name="Imp")
    export(adapter, tmp_path / "out", options, base=base, progress=Quiet())
    edit_json(adapter / file, lambda settings: settings.update(change))
    with pytest.raises(BadInput, match="another checkpoint"):
        export(adapter, tmp_path / "out", options, base=base, progress=Quiet())


def test_fewer_bits_are_those_of_the_merged_model(tmp_path: Path) -> None:
    """8 and 4 bits of the merged weights, rounded to F16 once: what `llama-quantize` would make of
    the F16 file."""
    base = make_plain(tmp_path / "base", "llama", sizes=SIZES)
    adapter = make_lora(
        tmp_path / "lora", base, family="llava", naming="train", tower="inside", sizes=SIZES
    )
    export(adapter, tmp_path / "out", Options(name="Imp"), base=base, progress=Quiet())
    halves, eights, fours = (
        {t.name: t for t in GGUFReader(tmp_path / "out" / f"Imp-{kind}.gguf").tensors}
        for kind in ("F16", "Q8_0", "Q4_0")
    )
    compared = 0
    for name, tensor in halves.items():
        for quantized in (eights[name], fours[name]):
            if quantized.tensor_type.name in ("Q8_0", "Q4_0"):
                exact = tensor.data.astype(np.float32)
                wanted = ggml.quantize(quantized.tensor_type, exact.reshape(-1), exact.shape[-1])
                assert np.array_equal(quantized.data.reshape(-1), wanted.reshape(-1)), name
                compared += 1
    assert compared > 20


def test_the_adapters_own_tokenizer(tmp_path: Path) -> None:
    """A training that added tokens saves it; the base's lacks them."""
    base = make_plain(tmp_path / "base", "llama")
    adapter = make_lora(tmp_path / "lora", base, family="llava", naming="train", tower="inside")
    shutil.copy(base / "tokenizer.model", adapter)
    (adapter / "tokenizer_config.json").write_text('{"add_bos_token": false}')
    options = Options(bits=(16,), name="Imp")
    export(adapter, tmp_path / "out", options, base=base, progress=Quiet())
    fields = GGUFReader(tmp_path / "out" / "Imp-F16.gguf").fields
    assert fields["tokenizer.ggml.add_bos_token"].contents() is False


def test_what_was_merged_is_said(tmp_path: Path) -> None:
    """Two bases of one shape cannot be told apart later."""
    base = make_plain(tmp_path / "base", "phi2", "train")
    adapter = make_lora(tmp_path / "lora", base, family="phi2", naming="train", tower="inside")
    options = Options(bits=(16,), resolutions=(196,), name="Imp")
    exported = export(adapter, tmp_path / "out", options, base=base, progress=Quiet())
    assert exported.bundle.source.base == str(base)
    assert not any("trained on" in note for note in exported.notes)
    edit_json(
        adapter / "adapter_config.json",
        lambda c: c.update(base_model_name_or_path="lmsys/vicuna-7b-v1.5"),
    )
    again = export(adapter, tmp_path / "other", options, base=base, progress=Quiet())
    assert any("trained on lmsys/vicuna-7b-v1.5" in note for note in again.notes)


def test_a_whole_tensor_under_another_naming(tmp_path: Path) -> None:
    """`lm_head` of one naming is `lm_head.linear` of the other."""
    base = make_plain(tmp_path / "base", "phi2", "hub")
    adapter = make_lora(
        tmp_path / "lora",
        base,
        family="phi2",
        naming="train",
        tower="inside",
        modules_to_save=("lm_head",),
    )
    options = Options(bits=(16,), resolutions=(196,), name="Imp")
    export(adapter, tmp_path / "out", options, base=base, progress=Quiet())
    ours = {t.name: t.data for t in GGUFReader(tmp_path / "out" / "Imp-F16.gguf").tensors}
    saved = load_file(adapter / "adapter_model.safetensors")
    assert np.array_equal(ours["output.weight"], saved["base_model.model.lm_head.weight"])
