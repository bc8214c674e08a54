"""The reference is what `verify` believes; were it wrong, every bundle would be called wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imp_deploy.convert.reference import Reference, load_reference, preprocess
from imp_deploy.errors import BadInput
from tests.checkpoints import Sizes, make_checkpoint, tower_of
from tests.tokenizers_real import Family, write_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NORM_EPS = {"phi2": "layer_norm_eps", "qwen2": "rms_norm_eps", "phi3": "rms_norm_eps"}
BEFORE, AFTER = [300, 12, 345, 99], [301, 17, 402]
BARE: dict[str, Any] = {"family": "phi2", "naming": "train", "image_size": 196, "tokenizer": None}


def picture(width: int = 90, height: int = 60) -> Image.Image:
    """Different in every direction, so that a flip or a swap of axes or channels shows."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    channels = x * 255 // width, y * 255 // height, (x + 3 * y) % 97
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def answer(reference: Reference, image: Image.Image | None = None) -> tuple[Any, list[int], Any]:
    embeddings = reference.embed(picture() if image is None else image)
    ids, logits = reference.greedy(BEFORE, embeddings, AFTER, 6)
    return embeddings, ids, logits


def assert_same(left: Reference, right: Reference) -> None:
    for a, b in zip(answer(left), answer(right), strict=True):
        np.testing.assert_array_equal(a, b)


def edit_config(folder: Path, **changes: Any) -> None:
    """Sets keys of config.json; None takes a key away."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def edit_weights(folder: Path, **changes: Any) -> None:
    """Replaces tensors of model.safetensors; None takes one away."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path) | {name.replace("__", "."): v for name, v in changes.items()}
    save_file({k: v for k, v in weights.items() if v is not None}, path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("plain") / "phi2", **BARE)


@pytest.mark.parametrize(
    "layout",
    [
        {"naming": "hub"},
        {"naming": "hub", "weights": "bin", "shards": 2, "tower": "all"},
        {"weights": "bin"},
        {"weights": "bin", "shards": 3},
        {"shards": 3},
        {"dtype": "f32"},
        {"dtype": "bf16"},
        {"tower": "all"},
        {"tower": "separate"},
    ],
    ids=lambda layout: "-".join(map(str, layout.values())),
)
def test_every_phi2_layout_is_the_same_model(
    layout: dict[str, Any], plain: Path, tmp_path: Path
) -> None:
    """Else the verdict on a bundle would depend on how its checkpoint happens to be stored."""
    other = make_checkpoint(tmp_path / "other", **(BARE | layout))
    assert_same(load_reference(plain), load_reference(other))


@pytest.mark.parametrize("family", ["qwen2", "phi3"])
def test_layouts_of_the_other_families(family: Family, tmp_path: Path) -> None:
    """Imp-2B and Imp-4B users, with grouped queries and shards, get one answer too."""
    options = BARE | {"family": family, "sizes": Sizes(kv_heads=2)}
    one = make_checkpoint(tmp_path / "one", **options)
    two = make_checkpoint(tmp_path / "two", **options | {"tower": "separate", "weights": "bin"})
    assert_same(load_reference(one), load_reference(two, vision_tower=tower_of(two)))


def test_a_null_inner_width_is_four_times_the_hidden_one(tmp_path: Path) -> None:
    """The published v1 config says `n_inner: null`."""
    options = BARE | {"sizes": Sizes(inner=1024)}
    hub = make_checkpoint(tmp_path / "hub", **options | {"naming": "hub"})
    assert json.loads((hub / "config.json").read_text())["n_inner"] is None
    train = make_checkpoint(tmp_path / "train", **options)
    assert_same(load_reference(hub), load_reference(train))


def test_the_old_phi_rounds_its_vocabulary_up(tmp_path: Path) -> None:
    """Its table has the next multiple of 64 rows, whatever `vocab_size` says."""
    model = make_checkpoint(tmp_path / "hub", **BARE | {"naming": "hub"})
    whole = load_reference(model)
    edit_config(model, vocab_size=whole.llm.config.vocab_size - 13)
    assert_same(whole, load_reference(model))


@pytest.mark.parametrize("family", ["phi2", "qwen2", "phi3"])
def test_language_model_is_the_one_transformers_loads(family: Family, tmp_path: Path) -> None:
    """A config key lost on the way (rotary share, rope base, eps) would move every logit."""
    from safetensors.torch import load_file, save_file

    model = make_checkpoint(tmp_path / "imp", **BARE | {"family": family})
    # Values that are nobody's default, so that a key that is not passed on shows.
    edit_config(model, rope_theta=5000.0, **{NORM_EPS[family]: 0.01})
    weights = load_file(model / "model.safetensors")
    text = tmp_path / "text"
    text.mkdir()
    save_file(
        {k: v for k, v in weights.items() if ".vision_tower." not in k and "mm_proj" not in k},
        text / "model.safetensors",
        metadata={"format": "pt"},
    )
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": {"phi2": "phi"}.get(family, family), "architectures": None}
    (text / "config.json").write_text(json.dumps(config))
    plain = transformers.AutoModelForCausalLM.from_pretrained(text, dtype=torch.float32)

    ids = [*BEFORE, *AFTER] * 5
    with torch.inference_mode():
        wanted = plain(input_ids=torch.tensor([ids])).logits[0].numpy()
    got = load_reference(model).text_logits(ids)
    assert wanted.std() > 0.5
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_features_are_the_last_but_one_hidden_state(tmp_path: Path) -> None:
    """One layer too many or too few, or the last norm, and no embedding would match a runtime's."""
    model = make_checkpoint(tmp_path / "imp", **BARE | {"tower": "separate"})
    from safetensors.torch import load_file

    siglip = json.loads((tower_of(model) / "config.json").read_text())["vision_config"]
    tower = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**siglip)).eval()
    stored = load_file(tower_of(model) / "model.safetensors")
    names = {k.split("vision_model.")[-1]: k for k in tower.state_dict()}
    vision = {k[13:]: v.float() for k, v in stored.items() if k.startswith("vision_model.")}
    tower.load_state_dict({names[k]: v for k, v in vision.items()})
    weights = {k: v.float() for k, v in load_file(model / "model.safetensors").items()}

    # By hand, not through `preprocess`: squashed, and v / 127.5 - 1.
    small = np.asarray(picture().resize((196, 196), Image.Resampling.BICUBIC), dtype=np.float32)
    pixels = torch.from_numpy((small / 127.5 - 1).transpose(2, 0, 1))[None]
    with torch.inference_mode():
        hidden = tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-2][0]
        room = "model.mm_projector"
        hidden = hidden @ weights[f"{room}.0.weight"].T + weights[f"{room}.0.bias"]
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        wanted = hidden @ weights[f"{room}.2.weight"].T + weights[f"{room}.2.bias"]
    got = load_reference(model).embed(picture())
    assert got.shape == (196, 256)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted.numpy(), atol=2e-5)


def test_greedy_with_its_cache_is_greedy_without(plain: Path) -> None:
    """A cache at wrong positions answers fluently and wrongly."""
    reference = load_reference(plain)
    nothing = np.empty((0, 256), dtype=np.float32)
    ids, logits = reference.greedy(BEFORE, nothing, AFTER, 8)
    whole = reference.text_logits([*BEFORE, *AFTER, *ids[:-1]])[-8:]
    np.testing.assert_allclose(logits, whole, atol=1e-4)
    assert ids == whole.argmax(axis=1).tolist()


def test_the_image_stands_between_the_texts_and_matters(plain: Path) -> None:
    """A random checkpoint that answers the same to every image would hide any vision bug."""
    reference = load_reference(plain)
    images = [picture(), Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")]
    answers = {tuple(answer(reference, image)[1]) for image in images}
    assert len(answers) == len(images)

    embeddings = reference.embed(picture())
    table = reference.llm.get_input_embeddings().weight.numpy()
    as_image = np.concatenate([table[BEFORE], embeddings, table[AFTER]])
    ids, _ = reference.greedy([], as_image, [], 6)
    assert ids == answer(reference)[1]


def test_greedy_ends_at_an_end_token_and_returns_it(plain: Path) -> None:
    """`verify` compares answers to their end; text behind it is noise."""
    reference = load_reference(plain)
    _, ids, logits = answer(reference)
    stop = ids.index(ids[2])
    shorter, fewer = reference.greedy(BEFORE, reference.embed(picture()), AFTER, 6, {ids[2]})
    assert shorter == ids[: stop + 1]
    np.testing.assert_array_equal(fewer, logits[: stop + 1])
    _, none = reference.greedy(BEFORE, reference.embed(picture()), AFTER, 0)
    assert none.shape == (0, logits.shape[1])


def test_pad_keeps_the_aspect_and_squash_does_not(tmp_path: Path) -> None:
    """v1.5 models see the image letterboxed in grey, v1 models see it squashed."""
    red = Image.new("RGB", (200, 100), (255, 0, 0))
    padded, squashed = preprocess(red, 100, "pad"), preprocess(red, 100, "squash")
    grey = 127 / 127.5 - 1
    np.testing.assert_allclose(padded[:, :20], grey, atol=1e-6)
    np.testing.assert_allclose(padded[:, 80:], grey, atol=1e-6)
    np.testing.assert_allclose(padded[:, 50], [[1.0] * 100, [-1.0] * 100, [-1.0] * 100])
    np.testing.assert_allclose(squashed[0], 1.0)
    np.testing.assert_allclose(preprocess(red.rotate(90, expand=True), 100, "pad")[:, :, 5], grey)

    pad = load_reference(make_checkpoint(tmp_path / "pad", **BARE | {"aspect": "pad"}))
    square = load_reference(make_checkpoint(tmp_path / "square", **BARE))
    assert (pad.mode, square.mode) == ("pad", "squash")
    same = picture(60, 60)
    np.testing.assert_array_equal(pad.embed(same), square.embed(same))
    assert not np.array_equal(pad.embed(picture()), square.embed(picture()))


def test_any_image_mode_is_taken_as_rgb(plain: Path) -> None:
    reference = load_reference(plain)
    grey = picture().convert("L")
    np.testing.assert_array_equal(reference.embed(grey), reference.embed(grey.convert("RGB")))
    assert reference.embed(picture().convert("RGBA")).shape == (196, 256)


def test_another_resolution_interpolates_the_positions(tmp_path: Path) -> None:
    """The 196-pixel file of a 384-pixel checkpoint is compared with this."""
    from safetensors.torch import load_file

    large = make_checkpoint(tmp_path / "large", **BARE | {"image_size": 384})
    native = make_checkpoint(tmp_path / "native", **BARE)
    name = "model.vision_tower.vision_tower.vision_model.embeddings.position_embedding.weight"
    table = load_file(large / "model.safetensors")[name].float()
    grid = table.reshape(1, 27, 27, 64).permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(grid, (14, 14), mode="bicubic", align_corners=False)
    rows = small.permute(0, 2, 3, 1).reshape(196, 64).contiguous()
    edit_weights(native, **{name.replace(".", "__"): rows})

    assert load_reference(large).embed(picture()).shape == (729, 256)
    resized = load_reference(large, resolution=196)
    assert resized.side == 196
    np.testing.assert_allclose(
        resized.embed(picture()), load_reference(native).embed(picture()), atol=1e-5
    )
    again = replace(load_reference(large), side=196)
    np.testing.assert_array_equal(again.embed(picture()), resized.embed(picture()))
    with pytest.raises(BadInput, match="patch"):
        load_reference(large, resolution=13)


def test_a_tower_without_a_config_is_taken_for_so400m(tmp_path: Path) -> None:
    """Checkpoints of the training repo may state nothing: 27 layers, 16 heads, 384 pixels."""
    sizes = Sizes(layers=1, vision_hidden=32, vision_inner=36, vision_layers=27, vision_heads=16)
    model = make_checkpoint(tmp_path / "imp", **BARE | {"sizes": sizes, "image_size": 384})
    stated = load_reference(model, resolution=196).embed(picture())
    edit_config(model, vision_tower_config=None)
    assert load_reference(model).side == 384
    guessed = load_reference(model, resolution=196).embed(picture())
    np.testing.assert_array_equal(guessed, stated)


def test_a_checkpoint_that_does_not_add_up_is_refused(tmp_path: Path) -> None:
    """Half a model must be an error here, not a mystery in the comparison."""

    def broken(name: str, **options: Any) -> Path:
        return make_checkpoint(tmp_path / name, **(BARE | options))

    model = broken("missing")
    edit_weights(model, model__layers__1__mlp__fc2__weight=None)
    with pytest.raises(BadInput, match=r"(?s)Missing.*layers\.1\.mlp\.fc2\.weight"):
        load_reference(model)

    model = broken("left-over")
    edit_weights(model, model__layers__0__self_attn__extra=torch.zeros(3))
    with pytest.raises(BadInput, match=r"(?s)Unexpected.*self_attn\.extra"):
        load_reference(model)

    model = broken("unused")
    edit_weights(model, model__layers__0__self_attn__rotary_emb__inv_freq=torch.zeros(3))
    load_reference(model)

    model = broken("shape", tower="all")
    vision = json.loads((model / "config.json").read_text())["vision_tower_config"]
    for wrong, said in (
        ({"num_hidden_layers": 2}, "3 layers, its config says 2"),
        ({"num_attention_heads": 3}, "divisible"),
        ({"intermediate_size": 128}, r"size mismatch.*mlp\.fc1"),
        ({"image_size": 384}, "size mismatch.*position"),
    ):
        edit_config(model, vision_tower_config=vision | wrong)
        with pytest.raises(BadInput, match=rf"(?s){said}"):
            load_reference(model)

    model = broken("projector")
    edit_config(model, mm_projector_type="ldp")
    with pytest.raises(BadInput, match="ldp"):
        load_reference(model)

    model = broken("other")
    edit_config(model, model_type="llava", architectures=["LlavaForCausalLM"])
    with pytest.raises(BadInput, match="not one of the Imp, LLaVA"):
        load_reference(model)

    model = broken("torn")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        load_reference(model)

    (model / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="no model"):
        load_reference(model)


def test_the_tower_is_asked_for_when_it_is_elsewhere(tmp_path: Path, plain: Path) -> None:
    """Never fetched from a hub, and never silently taken from two places."""
    model = make_checkpoint(tmp_path / "imp", **BARE | {"tower": "separate"})
    tower = tower_of(model)
    with pytest.raises(BadInput, match="own vision tower"):
        load_reference(plain, vision_tower=tower)
    edit_config(model, mm_vision_tower="google/siglip-so400m-patch14-384")
    with pytest.raises(BadInput, match="--vision-tower"):
        load_reference(model)

    siglip = json.loads((tower / "config.json").read_text())
    nested = load_reference(model, vision_tower=tower)
    (tower / "config.json").write_text(json.dumps(siglip["vision_config"]))
    assert_same(nested, load_reference(model, vision_tower=tower))


def test_without_torch_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, plain: Path
) -> None:
    """torch is an extra: exporting must work without it, and `verify` must say what it lacks."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BadInput, match=r"pip install 'imp-deploy\[torch\]'"):
        load_reference(plain)


def test_both_files_of_a_sentencepiece_tokenizer_agree(tmp_path: Path) -> None:
    """A real Phi-3 has both; if ours disagreed, the vocabulary tests would prove little."""
    sentencepiece = pytest.importorskip("sentencepiece")
    tokenizers = pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path, "phi3")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    fast = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("What is in the picture?", " two  spaces\n\nünïcode 🚀", "aaaa    b", "</s >"):
        assert fast.encode(text, add_special_tokens=False).ids == pieces.encode(text)
