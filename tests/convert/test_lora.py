"""A LoRA folder and its base become the bundle of the model that PEFT would merge."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.numpy import load_file

from imp_deploy.convert import piece
from imp_deploy.convert.export import export
from imp_deploy.convert.hub import Located
from imp_deploy.convert.plan import Options
from imp_deploy.convert.reference import load_reference
from imp_deploy.convert.verify import Bounds, failures, verify
from imp_deploy.errors import BadInput
from tests.checkpoints import Sizes, make_checkpoint, make_lora, make_plain, tower_of
from tests.pictures import write_all
from tests.quiet import Quiet
from tests.small import edit_json, edit_weights, finished_files, one_sentence

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
    assert len(written[0]) == 4


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


def refused(adapter: Path, base: Path | None, *parts: str, tower: Path | None = None) -> None:
    out = adapter.parent / "refused"
    with pytest.raises(BadInput) as caught:
        export(adapter, out, Options(bits=(16,)), base=base, tower=tower, progress=Quiet())
    message = str(caught.value)
    assert one_sentence(message), message
    assert [part for part in parts if part not in message] == [], message
    assert finished_files(out) == []


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base and an adapter for it."""
    place = tmp_path_factory.mktemp("lora")
    base = make_plain(place / "base", "phi2", "train")
    adapter = make_lora(place / "lora", base, family="phi2", naming="train", tower="inside")
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "microsoft/phi-2"
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    return base, adapter


def test_without_its_base(folders: tuple[Path, Path]) -> None:
    refused(folders[1], None, "LoRA adapter", "microsoft/phi-2", "--base")


def test_a_base_for_a_whole_model(folders: tuple[Path, Path]) -> None:
    refused(folders[0], folders[0], "no LoRA adapter", "--base")


def test_an_adapter_as_the_base(folders: tuple[Path, Path]) -> None:
    refused(folders[1], folders[1], "LoRA adapter itself")


@pytest.mark.parametrize("family", ["qwen2", "phi3", "llama"])
def test_a_base_of_another_architecture(
    family: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    base = make_plain(tmp_path / "base", family)  # type: ignore[arg-type]
    refused(folders[1], base, str(base), "imp-phi2", "microsoft/phi-2")


def test_a_base_of_another_size(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Phi-1.5 under an adapter for Phi-2: the same architecture, narrower."""
    base = make_plain(tmp_path / "base", "phi2", "train", sizes=Sizes(hidden=128, inner=256))
    refused(folders[1], base, str(base), "128", "256", "microsoft/phi-2")


def test_a_base_with_fewer_layers(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base = make_plain(tmp_path / "base", "phi2", "train", sizes=Sizes(layers=1))
    refused(folders[1], base, "layers.1", str(base))


def test_a_base_with_another_vocabulary(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """What no adapted module shows."""
    base = make_plain(tmp_path / "base", "phi2", "train")

    def shorter(tensors: dict[str, Any]) -> None:
        name = "model.embed_tokens.weight"
        tensors[name] = tensors[name][:-64].copy()

    edit_weights(base / "model.safetensors", shorter)
    refused(folders[1], base, "embed_tokens", "microsoft/phi-2")


def copy_of(folders: tuple[Path, Path], place: Path) -> Path:
    return Path(shutil.copytree(folders[1], place / "copy"))


def test_no_config_and_a_plain_base(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Nobody says then what the projector and the tower are."""
    adapter = copy_of(folders, tmp_path)
    (adapter / "config.json").unlink()
    refused(adapter, folders[0], str(adapter), "no config.json", "language model alone")


def test_no_projector_anywhere(folders: tuple[Path, Path], tmp_path: Path) -> None:
    adapter = copy_of(folders, tmp_path)
    (adapter / "non_lora_trainables.bin").unlink()
    refused(adapter, folders[0], "vision tower", "--vision-tower")


def test_a_projector_that_was_not_saved(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base, _ = folders
    adapter = make_lora(
        tmp_path / "lora", base, family="phi2", naming="train", tower="separate", projector=False
    )
    refused(adapter, base, "mm_projector", "non_lora_trainables.bin", tower=tower_of(adapter))


def test_an_adapter_that_diverged(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """The sentence names the adapter, not only the base, which is in order."""
    adapter = copy_of(folders, tmp_path)

    def spoil(tensors: dict[str, Any]) -> None:
        name = next(name for name in tensors if "lora_B" in name)
        tensors[name][0, 0] = np.nan

    edit_weights(adapter / "adapter_model.safetensors", spoil)
    refused(adapter, folders[0], str(adapter / "adapter_model.safetensors"), "NaN")


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


def test_an_adapter_for_another_architecture(tmp_path: Path) -> None:
    """An adapter of Phi-3 whose config.json says Imp on Phi-2."""
    other = make_plain(tmp_path / "phi3", "phi3")
    adapter = make_lora(tmp_path / "lora", other, family="phi3", naming="train", tower="inside")
    base = make_plain(tmp_path / "base", "phi2", "train")
    mine = make_lora(tmp_path / "mine", base, family="phi2", naming="train", tower="inside")
    (adapter / "config.json").write_bytes((mine / "config.json").read_bytes())
    refused(adapter, base, "no such module", "another architecture")


def test_an_adapter_of_something_that_is_not_exported(tmp_path: Path) -> None:
    """With tied embeddings the output head is the table itself: its adapter has no place."""
    base = make_plain(tmp_path / "base", "qwen2", "train")
    adapter = make_lora(
        tmp_path / "lora",
        base,
        family="qwen2",
        naming="train",
        tower="inside",
        targets=("q_proj", "lm_head"),
    )
    edit_json(adapter / "config.json", lambda c: c.update(tie_word_embeddings=True))
    refused(adapter, base, "lm_head")


def test_a_head_that_was_trained_and_is_not_exported(tmp_path: Path) -> None:
    base = make_plain(tmp_path / "base", "qwen2", "train")
    adapter = make_lora(
        tmp_path / "lora",
        base,
        family="qwen2",
        naming="train",
        tower="inside",
        modules_to_save=("lm_head",),
    )
    edit_json(adapter / "config.json", lambda c: c.update(tie_word_embeddings=True))
    refused(adapter, base, "lm_head")
