"""The random checkpoints are what the libraries write: else the tests that use them prove little.

What a layout's own library loads without a missing or a left-over tensor is that layout.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imp_deploy.convert.reference import load_reference
from tests.checkpoints import Family, Llm, Sizes, make_checkpoint, make_lora, make_plain, tower_of
from tests.checkpoints.layouts import HF, language_of
from tests.checkpoints.stored import read_weights
from tests.pictures import noise
from tests.tokenizers_real import write_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY = Sizes(hidden=64, inner=96, kv_heads=2, rotary=8, vision_hidden=32, vision_inner=40, patch=2)
UNGROUPED = Sizes(hidden=64, inner=96, rotary=8)
SIDE = 48  # pixels; 24 x 24 patches
IDS = [1, 300, 12, 345, 99, 301, 17, 402]
LLAVA: dict[str, Any] = {"family": "llava", "sizes": TINY, "image_size": SIDE}
NOTHING: dict[str, Any] = {
    "missing_keys": set(),
    "unexpected_keys": set(),
    "mismatched_keys": set(),
    "error_msgs": [],
}


def loaded(model_class: Any, folder: Path) -> Any:
    model, info = model_class.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32, attn_implementation="eager"
    )
    assert {k: type(v)(info[k]) for k, v in NOTHING.items()} == NOTHING
    return model.eval()


def llava(folder: Path, naming: Any) -> Any:
    checkpoint = make_checkpoint(folder / naming, **LLAVA, naming=naming)
    return loaded(transformers.LlavaForConditionalGeneration, checkpoint)


def seen(model: Any) -> Any:
    """Logits of a text with a picture in it."""
    image = model.config.image_token_index
    ids = torch.tensor([[1, *[image] * 576, *IDS]])
    pixels = torch.linspace(-1, 1, 3 * SIDE * SIDE).reshape(1, 3, SIDE, SIDE).sin()
    with torch.inference_mode():
        return model(input_ids=ids, pixel_values=pixels).logits[0, -len(IDS) :]


@pytest.mark.parametrize("naming", HF)
def test_llava_loads_in_transformers(naming: Any, tmp_path: Path) -> None:
    """An exporter that reads only our own idea of the layout fails on everybody's files."""
    model = llava(tmp_path, naming)
    stated = json.loads((tmp_path / naming / "config.json").read_text())
    assert ("rope_theta" in stated["text_config"]) is False
    assert model.config.text_config.num_key_value_heads == TINY.kv_heads
    assert model.config.vision_config.hidden_act == "quick_gelu"
    logits = seen(model)
    assert 0.5 < float(logits.std()) < 10


def test_every_naming_of_llava_is_the_same_model(tmp_path: Path) -> None:
    """Else a difference between two exports could come from the test's own files."""
    logits = [seen(llava(tmp_path, naming)) for naming in HF]
    assert all(torch.equal(logits[0], other) for other in logits[1:])
    train = make_checkpoint(tmp_path / "train", **LLAVA, naming="train", tower="all")
    ours, theirs = read_weights(train), read_weights(tmp_path / "hf")
    text = language_of(ours)
    for name, tensor in language_of(theirs).items():
        assert torch.equal(text[name], tensor[: len(text[name])]), name
    pair = {"0": "linear_1", "2": "linear_2"}
    for name, tensor in ours.items():
        if name not in text:
            name = name.removeprefix("model.vision_tower.").removeprefix("model.")
            parts = name.split(".")
            if parts[0] == "mm_projector":
                name = f"multi_modal_projector.{pair[parts[1]]}.{parts[2]}"
            assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize(
    ("naming", "fresh", "original"),
    [("hf", False, True), ("hf5-saved", True, True), ("hf5", True, False)],
)
def test_transformers_saves_the_names_that_we_write(
    naming: Any, fresh: bool, original: bool, tmp_path: Path
) -> None:
    """A user who saved LLaVA with transformers 5 has these files; others must not go unnoticed.

    It gives a model that it loaded from the hub's names these again; one that it made has others.
    """
    model = llava(tmp_path, "hf")
    if fresh:
        model = transformers.LlavaForConditionalGeneration(model.config)
    model.save_pretrained(tmp_path / "saved", save_original_format=original)
    ours = make_checkpoint(tmp_path / "ours", **LLAVA, naming=naming)
    assert read_weights(tmp_path / "saved").keys() == read_weights(ours).keys()
    saved, config = (
        json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "saved", ours)
    )
    for part in ("text_config", "vision_config"):
        assert config[part].keys() - {"pretraining_tp"} <= saved[part].keys()


@pytest.mark.parametrize("family", ["llava", "mobilevlm", "mobilevlm2"])
def test_a_separate_tower_is_a_whole_clip(family: Family, tmp_path: Path) -> None:
    """A tower of its own comes with a text half and `position_ids`, which must not be an error."""
    options = LLAVA | {"family": family, "naming": "train", "tower": "separate"}
    checkpoint = make_checkpoint(tmp_path / "x", **options)
    stored = read_weights(tower_of(checkpoint))
    assert stored["vision_model.embeddings.position_ids"].tolist() == [[*range(577)]]
    model = loaded(transformers.CLIPModel, tower_of(checkpoint))
    assert model.config.vision_config.layer_norm_eps == 1e-5
    inside = make_checkpoint(tmp_path / "inside", **options | {"tower": "all"})
    room = "model.vision_tower.vision_tower.vision_model"
    for name, tensor in read_weights(inside).items():
        if name.startswith(room):
            assert torch.equal(stored[f"vision_model{name.removeprefix(room)}"], tensor)
    assert not any("vision_tower" in name for name in read_weights(checkpoint))


@pytest.mark.parametrize("family", ["llava", "mobilevlm", "mobilevlm2"])
def test_pictures_and_places_in_them_matter(family: Family, tmp_path: Path) -> None:
    """A random model that sees every picture alike would pass any comparison of its vision."""
    checkpoint = make_checkpoint(tmp_path / "x", **LLAVA | {"family": family}, naming="train")
    reference = load_reference(checkpoint)
    pictures = noise(500, 333), noise(211, 487, 1), Image.new("RGB", (90, 60), "blue")
    embeddings = [reference.embed(picture) for picture in pictures]
    for rows in embeddings:
        assert 0.5 < rows.std() < 5
        assert np.median(rows.std(axis=0)) > 0.2
    answers = [tuple(reference.greedy(IDS, rows, IDS[::-1], 16)[0]) for rows in embeddings]
    assert len(set(answers)) == 3
    assert sum(len(set(ids)) for ids in answers) > 15


@pytest.mark.parametrize("family", ["phi2", "qwen2", "phi3", "llama"])
def test_a_plain_model_loads_and_answers_at_length(family: Llm, tmp_path: Path) -> None:
    """A base that transformers cannot load could not be compared with PEFT's merge."""
    folder = make_plain(tmp_path / "plain", family, sizes=UNGROUPED)
    model = loaded(transformers.AutoModelForCausalLM, folder)
    with torch.inference_mode():
        ids = model.generate(torch.tensor([IDS]), max_new_tokens=24, do_sample=False)[0]
    assert len(ids) == len(IDS) + 24
    assert len(set(ids[len(IDS) :].tolist())) > 4
    assert not {"mm_projector_type", "mm_vision_tower"} & model.config.to_dict().keys()


def test_hub_and_training_naming_of_phi2_are_the_same_model(tmp_path: Path) -> None:
    """And both are the language model of the whole checkpoint of the same seed."""
    whole = make_checkpoint(tmp_path / "imp", family="phi2", naming="hub", image_size=56)
    hub = make_plain(tmp_path / "hub", "phi2", "hub")
    train = make_plain(tmp_path / "train", "phi2", weights="bin", shards=2)
    states = [language_of(read_weights(folder)) for folder in (whole, hub, train)]
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in states[0].items())
    assert json.loads((hub / "config.json").read_text())["model_type"] == "phi-msft"


LORAS: dict[str, tuple[Llm, Family, dict[str, Any]]] = {
    "phi2": ("phi2", "phi2", {}),
    "qwen2-rslora-bin": ("qwen2", "qwen2", {"rslora": True, "weights": "bin", "rank": 16}),
    "phi3-patterns": (
        "phi3",
        "phi3",
        {"rank_pattern": {"o_proj": 4}, "alpha_pattern": {r".*\.0\.mlp\.down_proj": 64}},
    ),
    "llama-some": ("llama", "llava", {"targets": ("q_proj", "v_proj"), "alpha": 4}),
    "llama-saved": (
        "llama",
        "mobilevlm2",
        {"modules_to_save": ("lm_head",), "projector": False, "dtype": "f32"},
    ),
}


# PEFT 0.21 asks transformers 5.23 for something by its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("name", LORAS)
def test_peft_takes_the_adapter_and_it_matters(name: str, tmp_path: Path) -> None:
    """Keys and shapes are those that PEFT itself writes for such a model, none more, none less."""
    peft = pytest.importorskip("peft")
    llm, family, options = LORAS[name]
    base = make_plain(tmp_path / "base", llm, sizes=UNGROUPED)
    adapter = make_lora(
        tmp_path / "lora", base, family=family, naming="train", sizes=UNGROUPED, **options
    )
    model = loaded(transformers.AutoModelForCausalLM, base)
    with torch.inference_mode():
        before = model(torch.tensor([IDS * 4])).logits[0]
        tuned = peft.PeftModel.from_pretrained(model, adapter)
        wanted = peft.get_peft_model_state_dict(tuned)
        after = tuned.merge_and_unload()(torch.tensor([IDS * 4])).logits[0]
    if options.get("weights") == "bin":
        stored = torch.load(adapter / "adapter_model.bin", weights_only=True)
    else:
        from safetensors.torch import load_file

        stored = load_file(adapter / "adapter_model.safetensors")
    assert {k: v.shape for k, v in stored.items()} == {k: v.shape for k, v in wanted.items()}
    assert all(torch.equal(v.float(), wanted[k].float()) for k, v in stored.items())
    moved = float((after - before).std() / before.std())
    assert 0.1 < moved < 2
    assert (before.argmax(1) != after.argmax(1)).float().mean() > 0.2
    assert (adapter / "non_lora_trainables.bin").exists() is options.get("projector", True)


def test_a_lora_folder_holds_the_projector_and_may_hold_the_tower(tmp_path: Path) -> None:
    """What the training code saves beside the adapter, under its prefixes."""
    base = make_checkpoint(tmp_path / "base", family="phi2", naming="train", image_size=56)
    adapter = make_lora(
        tmp_path / "lora",
        base,
        family="phi2",
        naming="hub",
        keys="default",
        tower="inside",
        image_size=56,
    )
    others = torch.load(adapter / "non_lora_trainables.bin", weights_only=True)
    room = "base_model.model.transformer"
    assert f"{room}.mm_projector.0.weight" in others
    assert f"{room}.vision_tower.vision_tower.vision_model.head.probe" in others
    from safetensors.torch import load_file

    stored = load_file(adapter / "adapter_model.safetensors")
    assert stored[f"{room}.h.1.mixer.Wqkv.lora_B.default.weight"].shape == (768, 8)
    config = json.loads((adapter / "config.json").read_text())
    assert config["architectures"] == ["ImpForCausalLM"]
    assert config["n_embd"] == 256
    whole = read_weights(base)["model.mm_projector.0.weight"]
    assert not torch.equal(others[f"{room}.mm_projector.0.weight"].float(), whole)
    assert not (adapter / "tokenizer_config.json").exists()


def test_both_files_of_a_llama_tokenizer_agree(tmp_path: Path) -> None:
    """LLaVA comes with the one or with both; the ids of a prompt must not depend on that."""
    import sentencepiece
    import tokenizers

    vocabulary = write_tokenizer(tmp_path, "llama-hf")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    fast = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("What is in the picture?", " two  spaces\n\nünïcode", "aaaa    b"):
        assert fast.encode(text).ids == [1, *pieces.encode(text)]
    base = pieces.get_piece_size()
    assert [fast.token_to_id(text) for text in ("<image>", "<pad>", "</s>")] == [base, base + 1, 2]
    assert (vocabulary.image, vocabulary.tokens, vocabulary.eos) == (base, base + 2, 2)

    added = json.loads((tmp_path / "added_tokens.json").read_text())
    assert added == {"<image>": base, "<pad>": base + 1}
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    assert added.items() <= {t["content"]: t["id"] for t in document["added_tokens"]}.items()

    (plain := tmp_path / "plain").mkdir()
    assert write_tokenizer(plain, "llama").tokens == base
    assert (plain / "tokenizer.model").read_bytes() == (tmp_path / "tokenizer.model").read_bytes()
    assert not (plain / "tokenizer.json").exists()


def test_a_real_llama_vocabulary_has_the_published_ids(vocabularies: Path, tmp_path: Path) -> None:
    """32000 pieces, `<image>` 32000 and `<pad>` 32001 in 32064 rows."""
    small = Sizes(hidden=16, layers=1, heads=2, inner=16, vision_hidden=16, vision_inner=16)
    options = LLAVA | {"sizes": small, "tokenizer": "real", "vocabularies": vocabularies}
    hf = make_checkpoint(tmp_path / "hf", **options, naming="hf")
    config = json.loads((hf / "config.json").read_text())
    assert (config["image_token_index"], config["pad_token_id"]) == (32000, 32001)
    rows = read_weights(hf)["language_model.model.embed_tokens.weight"].shape[0]
    assert rows == config["vocab_size"] == 32064
    train = make_checkpoint(tmp_path / "train", **options, naming="train")
    assert read_weights(train)["lm_head.weight"].shape[0] == 32000
    import sentencepiece

    for folder in (hf, train):
        model = (folder / "tokenizer.model").read_bytes()
        pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        assert pieces.encode("What is in the picture?") == [1724, 338, 297, 278, 7623, 29973]
