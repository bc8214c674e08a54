"""LLaVA-1.5 and MobileVLM: the reference against transformers' own LLaVA, in every naming."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imp_deploy.convert.reference import CLIP, Reference, load_reference, preprocess
from imp_deploy.errors import BadInput
from tests.convert.test_reference_ldp import (
    LDP2_TENSORS,
    LDP_TENSORS,
    ldp2_by_hand,
    ldp_by_hand,
    projector_state,
)

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

BEFORE, AFTER = [1, 12, 45, 99], [30, 17, 42]
IMAGE = 110
HIDDEN, VISION, SIDE, PATCH = 64, 32, 48, 2  # 24 x 24 patches, as ViT-L/14@336
# Values that are nobody's default, so that a key that is not passed on shows.
TEXT = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 120,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 0.01,
    "rope_theta": 5000.0,
}
TOWER = {
    "model_type": "clip_vision_model",
    "hidden_size": VISION,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": PATCH,
    "layer_norm_eps": 0.001,
}
State = dict[str, Any]


def picture(width: int = 90, height: int = 60) -> Image.Image:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    channels = x * 255 // width, y * 255 // height, (x + 3 * y) % 97
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def clip_pixels(image: Image.Image, side: int) -> Any:
    """Padded and normalised by hand, [1, 3, side, side]."""
    longest = max(image.size)
    square = np.empty((longest, longest, 3), dtype=np.uint8)
    square[:] = 122, 116, 104
    top, left = (longest - image.height) // 2, (longest - image.width) // 2
    square[top : top + image.height, left : left + image.width] = np.asarray(image)
    small = Image.fromarray(square).resize((side, side), Image.Resampling.BICUBIC)
    values = np.asarray(small, dtype=np.float64) / 255
    values = values - [0.48145466, 0.4578275, 0.40821073]
    values = values / [0.26862954, 0.26130258, 0.27577711]
    return torch.from_numpy(values.transpose(2, 0, 1))[None].float()


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """transformers' model, and the folder that it saves."""
    config = transformers.LlavaConfig(
        text_config=TEXT, vision_config=TOWER, image_token_index=IMAGE, attn_implementation="eager"
    )
    torch.manual_seed(3)
    model = transformers.LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        spread = 1.0 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.3
        norm = parameter.ndim == 1 and name.endswith("weight")
        # Much larger than what transformers starts with: every term must matter.
        torch.nn.init.normal_(parameter, mean=1.0 if norm else 0.0, std=1.5 * spread)
        parameter.copy_(parameter.half())
    folder = tmp_path_factory.mktemp("llava") / "saved"
    # In F16: tensors that are converted lie alike in memory, so that equal means to the last bit.
    copy.deepcopy(model).half().save_pretrained(folder)
    return model, folder


def rewrite(source: Path, out: Path, rename: Callable[[str], str], **config: Any) -> Path:
    """The same weights under other names; `config` None: the keys of the source."""
    from safetensors.torch import load_file, save_file

    out.mkdir()
    weights = {
        rename(name): tensor for name, tensor in load_file(source / "model.safetensors").items()
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    stated = config or json.loads((source / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(stated))
    return out


def training_name(name: str) -> str:
    """From llava-hf's to the original's."""
    for old, new in (
        ("language_model.model.", "model."),
        ("language_model.lm_head.", "lm_head."),
        ("vision_tower.vision_model.", "vision_tower."),
        ("vision_tower.", "model.vision_tower.vision_tower.vision_model."),
        ("multi_modal_projector.linear_1.", "model.mm_projector.0."),
        ("multi_modal_projector.linear_2.", "model.mm_projector.2."),
    ):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def flat_config(**changes: Any) -> dict[str, Any]:
    """The config of LLaVA's training code; the tower's shape is ours, as it is small."""
    return {
        **TEXT,
        "model_type": "llava_llama",
        "architectures": ["LlavaLlamaForCausalLM"],
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "image_aspect_ratio": "pad",
        "vision_tower_config": TOWER,
        **changes,
    }


def answer(reference: Reference) -> tuple[Any, list[int], Any]:
    embeddings = reference.embed(picture())
    ids, logits = reference.greedy(BEFORE, embeddings, AFTER, 6)
    return embeddings, ids, logits


def assert_same(left: Reference, right: Reference) -> None:
    for a, b in zip(answer(left), answer(right), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_is_the_model_that_transformers_loads(llava: tuple[Any, Path]) -> None:
    """The judge of every LLaVA bundle: its tower, its projector and its language model."""
    model, folder = llava
    with torch.inference_mode():
        pixels = clip_pixels(picture(), SIDE)
        features = model.get_image_features(pixels).pooler_output[0].numpy()
        ids = [*BEFORE, *[IMAGE] * len(features), *AFTER]
        logits = model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0, -1].numpy()
        text = model(input_ids=torch.tensor([BEFORE])).logits[0].numpy()
    reference = load_reference(folder)
    assert (reference.side, reference.mode, reference.colours) == (SIDE, "pad", CLIP)
    embeddings, _, got = answer(reference)
    assert features.std() > 0.3
    assert features.std(0).mean() > 0.1  # patches differ
    np.testing.assert_allclose(embeddings, features, atol=1e-4)
    np.testing.assert_allclose(got[0], logits, atol=2e-4)
    np.testing.assert_allclose(reference.text_logits(BEFORE), text, atol=1e-4)


def test_every_naming_is_the_same_model(llava: tuple[Any, Path], tmp_path: Path) -> None:
    """The hub's files, transformers' own names and the original checkpoints give one verdict."""
    model, folder = llava
    reference = load_reference(folder)

    def hub(name: str) -> str:
        return name.replace("vision_tower.", "vision_tower.vision_model.", 1)

    def module(name: str) -> str:
        if name.startswith("language_model.lm_head"):
            return name.removeprefix("language_model.")
        return f"model.{name}".replace("language_model.model.", "language_model.")

    from safetensors.torch import load_file

    stored = load_file(folder / "model.safetensors")
    assert {module(name) for name in stored} == set(model.state_dict())
    lean = json.loads((folder / "config.json").read_text())
    lean["text_config"], lean["vision_config"] = TEXT, TOWER
    assert_same(reference, load_reference(rewrite(folder, tmp_path / "hub", hub, **lean)))
    assert_same(reference, load_reference(rewrite(folder, tmp_path / "modules", module)))
    train = rewrite(folder, tmp_path / "train", training_name, **flat_config())
    assert_same(reference, load_reference(train))
    old = flat_config(model_type="llava")
    (train / "config.json").write_text(json.dumps(old))
    assert_same(reference, load_reference(train))


@pytest.mark.parametrize(
    ("kind", "tensors", "by_hand"),
    [("ldpnet", LDP_TENSORS, ldp_by_hand), ("ldpnetv2", LDP2_TENSORS, ldp2_by_hand)],
)
def test_mobilevlm_is_this_tower_and_its_own_projector(
    kind: str,
    tensors: dict[str, str],
    by_hand: Callable[..., Any],
    llava: tuple[Any, Path],
    tmp_path: Path,
) -> None:
    """144 visual tokens; and keys of another library in its config must not be believed."""
    from safetensors.torch import load_file, save_file

    model, folder = llava
    stray = {"n_embd": 2560, "n_head": 16, "n_layer": 1, "norm_eps": 1e-5, "padded_vocab_size": 99}
    config = flat_config(
        model_type="mobilevlm",
        architectures=["MobileLlamaForCausalLM"],
        mm_projector_type=kind,
        **stray,
    )
    out = rewrite(folder, tmp_path / kind, training_name, **config)
    weights = load_file(out / "model.safetensors")
    weights = {k: v for k, v in weights.items() if ".mm_projector." not in k}
    state = projector_state(tensors, VISION, HIDDEN)
    weights |= {f"model.mm_projector.{name}": tensor for name, tensor in state.items()}
    save_file(weights, out / "model.safetensors")

    with torch.inference_mode():
        hidden = model.model.vision_tower(
            pixel_values=clip_pixels(picture(), SIDE), output_hidden_states=True
        ).hidden_states[-2]
    exact = {name: tensor.double().numpy() for name, tensor in state.items()}
    wanted = by_hand(exact, hidden[0, 1:].double().numpy())
    reference = load_reference(out)
    got = reference.embed(picture())
    assert got.shape == wanted.shape == (144, HIDDEN)
    np.testing.assert_allclose(got, wanted, atol=2e-3 * wanted.std())
    np.testing.assert_array_equal(
        reference.text_logits(BEFORE), load_reference(folder).text_logits(BEFORE)
    )

    lost = next(name for name in weights if "peg" in name or "mb_block.2.block.1" in name)
    save_file({k: v for k, v in weights.items() if k != lost}, out / "model.safetensors")
    with pytest.raises(BadInput, match=rf"projector \({kind}\).*Missing.*{lost[19:]}"):
        load_reference(out)
    (out / "config.json").write_text(json.dumps(config | {"mm_projector_type": "mlp2x_gelu"}))
    with pytest.raises(BadInput, match="'mlp2x_gelu', and ldpnet or ldpnetv2 is supported"):
        load_reference(out)


def test_a_clip_tower_beside_the_checkpoint(llava: tuple[Any, Path], tmp_path: Path) -> None:
    """The published LLaVA and MobileVLM only name their tower; it comes as a whole CLIP model, or
    as its vision half."""
    from safetensors.torch import load_file, save_file

    model, folder = llava
    inside = rewrite(folder, tmp_path / "inside", training_name, **flat_config())
    config = flat_config(vision_tower_config=None, mm_vision_tower=str(tmp_path / "clip"))
    out = rewrite(folder, tmp_path / "bare", training_name, **config)
    weights = load_file(out / "model.safetensors")
    bare = {k: v for k, v in weights.items() if ".vision_tower." not in k}
    save_file(bare, out / "model.safetensors")
    text = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1, "vocab_size": 30}
    text |= {"num_attention_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    clip = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=TOWER))
    clip.vision_model.load_state_dict(model.model.vision_tower.state_dict())
    clip.save_pretrained(tmp_path / "clip")
    clip.vision_model.save_pretrained(tmp_path / "half")

    wanted = load_reference(inside)
    assert_same(wanted, load_reference(out))  # by its name in config.json
    assert_same(wanted, load_reference(out, vision_tower=tmp_path / "half"))
    (out / "config.json").write_text(
        json.dumps(
            config
            | {
                "vision_tower_config": {
                    "model_type": "siglip_vision_model",
                    **{k: v for k, v in TOWER.items() if k != "model_type"},
                }
            }
        )
    )
    with pytest.raises(BadInput, match=r"says siglip_vision_model.* CLIP's"):
        load_reference(out)


def test_a_clip_tower_at_another_resolution(llava: tuple[Any, Path]) -> None:
    """The class token's position stays what it is, the patches' are interpolated."""
    model, folder = llava
    reference = load_reference(folder, resolution=28)
    with torch.inference_mode():
        states = model.model.vision_tower(
            pixel_values=clip_pixels(picture(), 28),
            output_hidden_states=True,
            interpolate_pos_encoding=True,
        ).hidden_states
        wanted = model.model.multi_modal_projector(states[-2][0, 1:]).numpy()
    got = reference.embed(picture())
    assert got.shape == (14 * 14, HIDDEN)
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    again = replace(load_reference(folder), side=28)
    np.testing.assert_array_equal(again.embed(picture()), got)


def test_a_clip_tower_without_a_config_is_taken_for_large_336() -> None:
    """LLaVA's and MobileVLM's checkpoints state nothing of the tower's heads and layers."""
    from imp_deploy.convert.reference.tower import build_tower

    inner, hidden = 24, 32
    state: State = {
        "embeddings.class_embedding": torch.ones(hidden),
        "embeddings.patch_embedding.weight": torch.ones(hidden, 3, 14, 14),
        "embeddings.position_embedding.weight": torch.ones(577, hidden),
        **{f"pre_layrnorm.{kind}": torch.ones(hidden) for kind in ("weight", "bias")},
    }
    for layer in range(24):
        for name, shape in {
            **{f"self_attn.{p}_proj": (hidden, hidden) for p in ("q", "k", "v", "out")},
            "mlp.fc1": (inner, hidden),
            "mlp.fc2": (hidden, inner),
            "layer_norm1": (hidden,),
            "layer_norm2": (hidden,),
        }.items():
            state[f"encoder.layers.{layer}.{name}.weight"] = torch.ones(shape)
            state[f"encoder.layers.{layer}.{name}.bias"] = torch.ones(shape[0])
    tower = build_tower(state, None, -2, "a test")
    assert (tower.clip, tower.side, tower.patch, tower.hidden) == (True, 336, 14, hidden)
    assert len(tower.modules["encoder"].layers) == 23


def test_clip_pictures_are_padded_with_their_mean_colour() -> None:
    """A wide picture through CLIP stands on (122, 116, 104), whatever SigLIP's grey is."""
    got = preprocess(picture(), 60, "pad", CLIP)
    np.testing.assert_allclose(got, clip_pixels(picture(), 60)[0].numpy(), atol=1e-6)
    assert abs(got[:, 0]).max() < 0.02
    squashed = preprocess(picture(), 60, "squash", CLIP)
    assert abs(squashed[:, 0]).max() > 0.5


def test_other_llava_models_are_refused(llava: tuple[Any, Path], tmp_path: Path) -> None:
    """`llava` is said of many models; computing another one's answers wrongly is no answer."""
    _, folder = llava
    config = json.loads((folder / "config.json").read_text())
    out = rewrite(folder, tmp_path / "other", str)
    for change, said in (
        (
            {"text_config": config["text_config"] | {"model_type": "mistral"}},
            "'mistral', and llama",
        ),
        ({"vision_feature_select_strategy": "full"}, "'full', and default"),
        ({"vision_feature_layer": [-2, -5]}, "selects the tower's layers"),
        ({"projector_hidden_act": "relu"}, "'relu', and gelu"),
        ({"architectures": ["LlavaNextForConditionalGeneration"]}, "not one of"),
    ):
        (out / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(BadInput, match=said):
            load_reference(out)
