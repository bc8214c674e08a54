"""LoRA folders: the reference against PEFT's own merge, and what it must not take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imp_deploy.convert.reference import load_reference
from imp_deploy.errors import BadInput

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

State = dict[str, Any]
HIDDEN, VISION = 32, 16
SHAPE = {
    "vocab_size": 64,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": None,
}
IMP = {"phi": "imp", "qwen2": "imp_qwen2", "phi3": "imp_phi3", "llama": "llava_llama"}
PHI = ["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"]


def random_llm(kind: str) -> Any:
    torch.manual_seed(5)
    config = transformers.AutoConfig.for_model(kind, **SHAPE)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    randomise(model.parameters())
    return model


def randomise(parameters: Any) -> None:
    """Values that F16 holds."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn(parameter.shape).mul(0.2).half())


def save(folder: Path, state: State, **config: Any) -> Path:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def save_plain(folder: Path, model: Any) -> Path:
    return save(folder, model.state_dict(), **model.config.to_dict())


def projector(seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"0.weight": (HIDDEN, VISION), "0.bias": (HIDDEN,)}
    shapes |= {"2.weight": (HIDDEN, HIDDEN), "2.bias": (HIDDEN,)}
    return {k: torch.randn(shape, generator=generator).half() for k, shape in shapes.items()}


def save_siglip(folder: Path) -> Path:
    shape = {"hidden_size": VISION, "intermediate_size": 20, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    torch.manual_seed(6)
    model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**shape))
    model.half().save_pretrained(folder)
    return folder


def complete(lora: Path, kind: str, room: str = "model", **config: Any) -> None:
    """What the training code writes beside the adapter."""
    stated = {**SHAPE, "model_type": IMP[kind], "mm_projector_type": "mlp2x_gelu", **config}
    (lora / "config.json").write_text(json.dumps(stated))
    named = {f"base_model.model.{room}.mm_projector.{k}": v for k, v in projector(1).items()}
    torch.save(named, lora / "non_lora_trainables.bin")


def write_adapter(lora: Path, state: State, **config: Any) -> Path:
    lora.mkdir(exist_ok=True)
    torch.save(state, lora / "adapter_model.bin")
    stated = {"peft_type": "LORA", "r": 4, "lora_alpha": 12, **config}
    (lora / "adapter_config.json").write_text(json.dumps(stated))
    return lora


def low_rank(module: str, rows: int, columns: int, rank: int = 4, key: str = "") -> State:
    generator = torch.Generator().manual_seed(len(module))
    return {
        f"base_model.model.{module}.lora_A{key}.weight": torch.randn(
            rank, columns, generator=generator
        ),
        f"base_model.model.{module}.lora_B{key}.weight": torch.randn(
            rows, rank, generator=generator
        ),
    }


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_siglip(tmp_path_factory.mktemp("tower") / "siglip")


@pytest.fixture(scope="module")
def phi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_plain(tmp_path_factory.mktemp("plain") / "phi", random_llm("phi"))


# transformers renamed an attribute that PEFT still asks for.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.filterwarnings("ignore:The following alpha_pattern keys:RuntimeWarning")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("phi", {"target_modules": PHI}),
        (
            "phi",
            {
                "target_modules": PHI,
                # In the order of the saved file, which PEFT sorts.
                "rank_pattern": {"layers.1.mlp.fc1": 7, r"layers\.1\.mlp\.fc1": 2, "q_proj": 3},
                "alpha_pattern": {"model.layers.0.self_attn.q_proj": 5, "(k|v)_proj": 1, "oj": 9},
            },
        ),
        ("llama", {"target_modules": "all-linear", "use_rslora": True}),
        ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"], "modules_to_save": ["lm_head"]}),
        ("qwen2", {"target_modules": ["q_proj", "down_proj"], "bias": "all"}),
    ],
    ids=["plain", "patterns", "rslora", "modules-to-save", "biases"],
)
def test_the_merge_is_pefts(
    kind: str, options: dict[str, Any], tower: Path, tmp_path: Path
) -> None:
    """Who fine-tuned a model must have exactly that model verified."""
    model = random_llm(kind)
    base = save_plain(tmp_path / "base", model)
    original = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=4, lora_alpha=12, task_type="CAUSAL_LM", **options)
    )
    randomise(parameter for parameter in adapted.parameters() if parameter.requires_grad)
    adapted.save_pretrained(tmp_path / "lora", save_embedding_layers=False)
    complete(tmp_path / "lora", kind)
    wanted = adapted.merge_and_unload().state_dict()
    if kind == "phi":
        assert not torch.equal(
            wanted["model.layers.1.mlp.fc1.weight"], original["model.layers.1.mlp.fc1.weight"]
        )

    reference = load_reference(tmp_path / "lora", base=base, vision_tower=tower)
    got = reference.llm.state_dict()
    assert got.keys() == wanted.keys()
    changed = 0
    for name, tensor in wanted.items():
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=1e-6)
        changed += not torch.equal(tensor, original[name])
    assert changed >= 4
    made = {name: tensor.half() for name, tensor in reference.projector.state_dict().items()}
    assert all(torch.equal(made[name], tensor) for name, tensor in projector(1).items())


def test_adapter_and_base_may_be_named_differently(phi: Path, tower: Path, tmp_path: Path) -> None:
    """An Imp trained under the hub's names has one adapter for Q, K and V; its base may be split.
    And the other way round."""
    from safetensors.torch import load_file

    state = load_file(phi / "model.safetensors")
    old = {}
    for name, tensor in state.items():
        if ".self_attn.q_proj." in name:
            parts = [state[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            old[hub_name(name.replace("q_proj", "Wqkv"))] = torch.cat(parts)
        elif ".k_proj." not in name and ".v_proj." not in name:
            old[hub_name(name)] = tensor
    shape = {"vocab_size": 64, "n_embd": HIDDEN, "n_inner": 48, "n_layer": 2, "n_head": 4}
    shape |= {"n_head_kv": 2, "n_positions": 64, "rotary_dim": 4}
    msft = save(tmp_path / "msft", old, model_type="phi-msft", **shape)

    module = "model.layers.1.self_attn"
    fused = low_rank("transformer.h.1.mixer.Wqkv", 64, HIDDEN)
    down, up = fused.values()
    split = {}
    for letter, rows in zip("qkv", up.split([32, 16, 16]), strict=True):
        name = f"base_model.model.{module}.{letter}_proj.lora_"
        split |= {f"{name}A.default.weight": down.clone(), f"{name}B.default.weight": rows.clone()}
    hub = write_adapter(tmp_path / "hub", fused)
    complete(hub, "phi", "transformer", partial_rotary_factor=0.5)
    train = write_adapter(tmp_path / "train", split)
    complete(train, "phi", partial_rotary_factor=0.5)

    whole = torch.cat([state[f"{module}.{letter}_proj.weight"].float() for letter in "qkv"])
    wanted = whole + 3.0 * up @ down
    answers = []
    for lora, base in ((hub, phi), (hub, msft), (train, phi), (train, msft)):
        reference = load_reference(lora, base=base, vision_tower=tower)
        attention = reference.llm.model.layers[1].self_attn
        parts = attention.q_proj, attention.k_proj, attention.v_proj
        got = torch.cat([part.weight for part in parts])
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)
        answers.append(reference.text_logits([1, 2, 3, 4]))
    for other in answers[1:]:
        torch.testing.assert_close(torch.tensor(other), torch.tensor(answers[0]))


def hub_name(name: str) -> str:
    for new, old in (
        ("model.embed_tokens", "transformer.embd.wte"),
        ("model.layers.", "transformer.h."),
        (".input_layernorm", ".ln"),
        (".self_attn.dense", ".mixer.out_proj"),
        (".self_attn.", ".mixer."),
        ("lm_head.", "lm_head.linear."),
        ("model.final_layernorm", "lm_head.ln"),
    ):
        name = name.replace(new, old)
    return name


def test_a_whole_model_as_the_base(phi: Path, tower: Path, tmp_path: Path) -> None:
    """Fine-tuning may start from a published Imp: its tower stays, its projector is replaced."""
    from PIL import Image
    from safetensors.torch import load_file

    whole = load_file(phi / "model.safetensors")
    whole |= {f"model.mm_projector.{k}": v for k, v in projector(2).items()}
    inside = "model.vision_tower.vision_tower.vision_model"
    vision = load_file(tower / "model.safetensors")
    whole |= {f"{inside}.{k}": v for k, v in vision.items()}
    stated = json.loads((tower / "config.json").read_text())
    config = {**SHAPE, "model_type": "imp", "vision_tower_config": stated}
    base = save(tmp_path / "imp", whole, **config)
    lora = write_adapter(tmp_path / "lora", low_rank("model.layers.0.mlp.fc2", HIDDEN, 48))
    complete(lora, "phi")

    picture = Image.linear_gradient("L").convert("RGB")
    wanted = load_reference(lora, base=phi, vision_tower=tower)
    got = load_reference(lora, base=base)
    assert (got.embed(picture) == wanted.embed(picture)).all()
    assert (got.text_logits([5, 6]) == wanted.text_logits([5, 6])).all()
    assert abs(got.embed(picture) - load_reference(base).embed(picture)).max() > 0.1

    (lora / "config.json").unlink()  # as PEFT alone leaves it
    again = load_reference(lora, base=base)
    assert (again.embed(picture) == got.embed(picture)).all()


def test_trained_besides_the_adapter(phi: Path, tower: Path, tmp_path: Path) -> None:
    """Whole modules stand under several names, by who saved them; all replace the base's."""
    fc1 = low_rank("model.layers.0.mlp.fc1", 48, HIDDEN)
    head = torch.randn(64, HIDDEN, generator=torch.Generator().manual_seed(9)).half()

    def trained(file: str, name: str) -> Any:
        lora = write_adapter(tmp_path / "lora", fc1 | ({name: head} if file == "adapter" else {}))
        complete(lora, "phi")
        others = torch.load(lora / "non_lora_trainables.bin")
        if file == "others":
            copy = "base_model.model.lm_head.original_module.weight"
            others |= {name: head, copy: torch.zeros(64, HIDDEN)}
        torch.save(others, lora / "non_lora_trainables.bin")
        return load_reference(lora, base=phi, vision_tower=tower).llm.lm_head.weight

    for file, name in (
        ("adapter", "base_model.model.lm_head.weight"),
        ("adapter", "base_model.model.lm_head.base_layer.weight"),
        ("adapter", "base_model.model.lm_head.modules_to_save.weight"),
        ("others", "base_model.model.lm_head.modules_to_save.default.weight"),
        ("others", "model.lm_head.weight"),
        ("others", "lm_head.weight"),
    ):
        assert torch.equal(trained(file, name), head.float()), name


def test_half_a_merge_is_refused(phi: Path, tower: Path, tmp_path: Path) -> None:
    """A tensor left over, or of another size: the merged model would not be the trained one."""
    fc1 = low_rank("model.layers.0.mlp.fc1", 48, HIDDEN)

    def lora(state: State, kind: str = "phi", **config: Any) -> Path:
        folder = write_adapter(tmp_path / "lora", state, **config)
        complete(folder, kind)
        return folder

    def said(folder: Path, base: Path | None = phi) -> str:
        with pytest.raises(BadInput) as caught:
            load_reference(folder, base=base, vision_tower=tower)
        message = str(caught.value)
        assert "\n" not in message
        assert message.endswith(".")
        return message

    load_reference(lora(fc1), base=phi, vision_tower=tower)
    assert "is a LoRA folder" in said(lora(fc1), None)
    assert "no LoRA folder; leave --base out" in said(phi, phi)
    assert "no such tensor" in said(lora(low_rank("model.layers.2.mlp.fc1", 48, HIDDEN)))
    assert "no such tensor" in said(lora(low_rank("model.layers.0.mlp.up_proj", 48, HIDDEN)))
    assert "(48, 32)" in said(lora(low_rank("model.layers.0.mlp.fc1", 40, HIDDEN)))
    assert "says rank 8" in said(lora(fc1, r=8))
    assert "lora_alpha None" in said(lora(fc1, lora_alpha=None))
    assert "one half" in said(lora(dict(list(fc1.items())[:1])))
    assert "under two names" in said(
        lora(fc1 | low_rank("model.layers.0.mlp.fc1", 48, HIDDEN, key=".default"))
    )
    dora = {"base_model.model.model.layers.0.mlp.fc1.lora_magnitude_vector": torch.ones(48)}
    assert "no LoRA of a linear layer" in said(lora(fc1 | dora))
    assert "IA3" in said(lora(fc1, peft_type="IA3"))
    assert "no LoRA tensors" in said(lora({}))
    extra = {"base_model.model.model.layers.7.mlp.fc1.weight": torch.ones(48, HIDDEN)}
    assert "layers.7.mlp.fc1.weight of shape (48, 32), and the base has no such" in said(
        lora(fc1 | extra)
    )
    assert "trained on a llama model" in said(lora(fc1, "llama"))
    (phi.parent / "gpt").mkdir()
    (phi.parent / "gpt" / "config.json").write_text('{"model_type": "gpt2"}')
    assert "'gpt2'" in said(lora(fc1), phi.parent / "gpt")
    folder = lora(fc1)
    (folder / "non_lora_trainables.bin").unlink()
    assert "projector" in said(folder)
    (folder / "adapter_model.bin").unlink()
    assert "adapter_model" in said(folder)
