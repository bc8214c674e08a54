"""What a LLaVA's configuration leaves out is what transformers would fill in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from imp_deploy.convert.families.llava import HF, flatten
from imp_deploy.convert.model import read_model
from imp_deploy.convert.tower_config import named_tower
from tests.checkpoints import make_checkpoint
from tests.small import edit_json, run_export

LLAVA: dict[str, Any] = {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}


def test_an_empty_text_config_is_llama_7b() -> None:
    flat = flatten({**LLAVA, "text_config": {"model_type": "llama"}}, "here")
    theirs = LlamaConfig()
    for key in (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "rms_norm_eps",
    ):
        assert flat[key] == getattr(theirs, key), key
    _, metadata = HF.read_config(flat, "here")
    assert metadata["rope.freq_base"] == 10000.0


@pytest.mark.parametrize("vision", [None, {"model_type": "clip_vision_model", "hidden_size": 480}])
def test_a_vision_config_with_gaps(vision: dict[str, Any] | None) -> None:
    """Without one it is LLaVA-1.5's tower, with a part of one CLIP's defaults fill the gaps."""
    config = {**LLAVA, **({"vision_config": vision} if vision else {})}
    tower = flatten(config, "here")["vision_tower_config"]
    theirs = CLIPVisionConfig(**vision) if vision else LlavaConfig().vision_config
    for key in (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "image_size",
        "patch_size",
    ):
        assert tower[key] == getattr(theirs, key), key


@pytest.mark.parametrize(("outer", "inner"), [(True, False), (False, True), (True, True)])
def test_tied_is_said_on_either_level(outer: bool, inner: bool) -> None:
    config = {
        **LLAVA,
        "tie_word_embeddings": outer,
        "text_config": {"tie_word_embeddings": inner},
    }
    assert flatten(config, "here")["tie_word_embeddings"] is True


@pytest.mark.parametrize("naming", ["train", "hf"])
def test_another_layer_is_selected(naming: str, tmp_path: Path) -> None:
    """-2 is what all of them have, and no constant of ours."""
    checkpoint = make_checkpoint(
        tmp_path / "llava",
        family="llava",
        naming=naming,  # type: ignore[arg-type]
        tower="all",
    )
    key = "mm_vision_select_layer" if naming == "train" else "vision_feature_layer"
    edit_json(checkpoint / "config.json", lambda c: c.update({key: -1}))
    model = read_model(checkpoint, None, None)
    assert (model.tower.used, model.tower.layers) == (3, 3)


def test_rope_of_transformers_5(tmp_path: Path) -> None:
    """It nests the base of the rotation, which other models of this shape have at a million."""
    checkpoint = make_checkpoint(tmp_path / "llava", family="llava", naming="hf5")
    edit_json(
        checkpoint / "config.json",
        lambda c: c["text_config"]["rope_parameters"].update(rope_theta=500000.0),
    )
    assert read_model(checkpoint, None, None).metadata["rope.freq_base"] == 500000.0


def test_a_class_token_is_not_exact_in_stock_llama_cpp(tmp_path: Path) -> None:
    """Whoever reads bundle.json must not be told that llama-mtmd-cli answers the same."""
    checkpoint = make_checkpoint(tmp_path / "llava", family="llava", naming="train")
    exported = run_export(checkpoint, tmp_path / "out", bits=(16,))
    assert not exported.bundle.preprocess.stock_exact
    assert any("25814" in note for note in exported.notes)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("openai/clip-vit-large-patch14-336", (14, 336)),
        ("openai/clip-vit-large-patch14", (14, 224)),
        ("/models/clip-vit-base-patch32", (32, 224)),
        ("google/siglip-so400m-patch14-384", (14, 384)),
        ("my-siglip-patch14", None),
        ("a-tower", None),
        (None, None),
    ],
)
def test_what_the_name_of_a_tower_says(name: str | None, sizes: tuple[int, int] | None) -> None:
    """Checkpoints that hold a tower and do not describe it mean the one that they name."""
    said = named_tower({"mm_vision_tower": name})
    assert (tuple(said.values()) or None) == sizes
