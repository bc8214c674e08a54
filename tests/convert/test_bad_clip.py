"""What is wrong with a MobileVLM or LLaVA is said in one sentence, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imp_deploy.convert.hub import locate
from tests.checkpoints import Sizes, make_checkpoint, tower_of
from tests.small import SMALL, edit_json, edit_weights, refused, run_export

# 24 x 24 patches, which LDP needs, of two pixels each.
SIZES = replace(SMALL, patch=2)
SIDE = 48


def made(place: Path, family: str, **options: Any) -> Path:
    chosen = {"naming": "train", "sizes": SIZES, "image_size": SIDE, **options}
    return make_checkpoint(place / family, family=family, **chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "kind", "known"),
    [
        ("llava", "ldpnet", "'mlp2x_gelu'"),
        ("llava", "mlp3x_gelu", "'mlp2x_gelu'"),
        ("mobilevlm", "mlp2x_gelu", "'ldpnet' or 'ldpnetv2'"),
        ("mobilevlm", "linear", "'ldpnet' or 'ldpnetv2'"),
        ("mobilevlm2", None, "'ldpnet' or 'ldpnetv2'"),
    ],
)
def test_a_projector_that_does_not_fit_the_family(
    family: str, kind: str | None, known: str, tmp_path: Path
) -> None:
    checkpoint = made(tmp_path, family)
    edit_json(checkpoint / "config.json", lambda c: c.update(mm_projector_type=kind))
    refused(checkpoint, tmp_path / "out", "config.json", str(kind), known)


@pytest.mark.parametrize(
    ("family", "kind", "lost"),
    [
        ("mobilevlm", "ldpnetv2", "mlp.mlp.0"),
        ("mobilevlm2", "ldpnet", "model.mlp.1"),
    ],
)
def test_the_other_projector_of_the_family(
    family: str, kind: str, lost: str, tmp_path: Path
) -> None:
    checkpoint = made(tmp_path, family)
    edit_json(checkpoint / "config.json", lambda c: c.update(mm_projector_type=kind))
    refused(checkpoint, tmp_path / "out", "lacks tensors", f"model.mm_projector.{lost}.weight")


@pytest.mark.parametrize(
    ("family", "tensor"),
    [
        ("mobilevlm2", "peg.peg.0.weight"),
        ("mobilevlm2", "peg.peg.0.bias"),
        ("mobilevlm", "model.mb_block.1.block.0.0.weight"),
        ("mobilevlm", "model.mb_block.2.block.1.fc2.bias"),
        ("mobilevlm", "model.mb_block.2.block.2.1.weight"),
    ],
)
def test_a_lost_tensor_of_the_projector(family: str, tensor: str, tmp_path: Path) -> None:
    checkpoint = made(tmp_path, family)
    name = f"model.mm_projector.{tensor}"
    edit_weights(checkpoint / "model.safetensors", lambda tensors: tensors.pop(name))
    refused(checkpoint, tmp_path / "out", "lacks tensors (1 in all", name)


def test_a_kernel_of_another_size(tmp_path: Path) -> None:
    checkpoint = made(tmp_path, "mobilevlm2")
    name = "model.mm_projector.peg.peg.0.weight"

    def change(tensors: dict[str, Any]) -> None:
        tensors[name] = tensors[name][:, :, :1, :1].copy()

    edit_weights(checkpoint / "model.safetensors", change)
    refused(checkpoint, tmp_path / "out", name, "[64, 1, 1, 1]", "[64, 1, 3, 3]")


def separate(place: Path, family: str, sizes: Sizes, side: int) -> Path:
    """The tower of another checkpoint."""
    other = made(place / "other", family, tower="separate", sizes=sizes, image_size=side)
    return tower_of(other)


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("family", ["llava", "mobilevlm", "mobilevlm2"])
def test_a_tower_of_another_width(family: str, stated: bool, tmp_path: Path) -> None:
    """`mm_hidden_size` says so; where it is missing, the projector does."""
    checkpoint = made(tmp_path, family, tower="separate")
    if not stated:
        edit_json(checkpoint / "config.json", lambda c: c.pop("mm_hidden_size"))
    wider = replace(SIZES, vision_hidden=64)
    tower = separate(tmp_path, family, wider, SIDE)
    refused(checkpoint, tmp_path / "out", "32", "64", "tower", tower=tower)


def test_a_tower_with_another_number_of_patches(tmp_path: Path) -> None:
    """llama.cpp's graph of LDP is made for 24 x 24 patches and aborts with others."""
    checkpoint = made(tmp_path, "mobilevlm", tower="separate")
    tower = separate(tmp_path, "mobilevlm", SIZES, 32)
    refused(checkpoint, tmp_path / "out", "24 x 24", "16 x 16", tower=tower)


def test_a_tower_of_another_size_than_the_name_says(tmp_path: Path) -> None:
    """LLaVA's projector takes any number of patches, so nothing else would show it; and a tower
    that was trained further may take another."""
    checkpoint = made(tmp_path, "llava", tower="separate")
    tower, name = tower_of(checkpoint), "openai/clip-vit-large-patch14-336"
    plain = run_export(checkpoint, tmp_path / "plain", bits=(16,), tower=tower)
    edit_json(checkpoint / "config.json", lambda c: c.update(mm_vision_tower=name))
    named = run_export(checkpoint, tmp_path / "named", bits=(16,), tower=tower)
    assert not any("names the vision tower" in note for note in plain.notes)
    assert any(f"{name}, and the one that was given takes 48" in note for note in named.notes)


def test_a_siglip_tower(tmp_path: Path) -> None:
    checkpoint = made(tmp_path, "llava", tower="separate")
    imp = make_checkpoint(
        tmp_path / "imp",
        family="phi2",
        naming="hub",
        tower="separate",
        sizes=SIZES,
        image_size=SIDE,
    )
    refused(checkpoint, tmp_path / "out", "siglip", "CLIP", tower=tower_of(imp))


def test_no_tower_at_all(tmp_path: Path) -> None:
    checkpoint = made(tmp_path, "mobilevlm", tower="separate")
    refused(checkpoint, tmp_path / "out", "no vision tower", "openai/clip-vit", "--vision-tower")


def test_another_resolution_than_ldp_takes(tmp_path: Path) -> None:
    checkpoint = made(tmp_path, "mobilevlm2")
    refused(checkpoint, tmp_path / "out", "24", "ask for 48", resolutions=(SIDE, 32))


def test_a_resolution_above_the_towers(tmp_path: Path) -> None:
    checkpoint = made(tmp_path, "llava")
    refused(checkpoint, tmp_path / "out", "50", "ask for 2 to 48", resolutions=(50,))


@pytest.mark.parametrize("aspect", ["square", "anyres", 1])
def test_a_picture_that_is_cropped(aspect: object, tmp_path: Path) -> None:
    """Without `pad`, LLaVA's training code crops the centre: another picture than ours."""
    checkpoint = made(tmp_path, "llava")
    edit_json(checkpoint / "config.json", lambda c: c.update(image_aspect_ratio=aspect))
    refused(checkpoint, tmp_path / "out", "image_aspect_ratio", str(aspect), "'pad'")


def test_nothing_said_of_the_picture_is_padding(tmp_path: Path) -> None:
    checkpoint = made(tmp_path, "llava")
    edit_json(checkpoint / "config.json", lambda c: c.pop("image_aspect_ratio"))
    exported = run_export(checkpoint, tmp_path / "out", bits=(16,))
    assert exported.bundle.preprocess.mode == "pad"
    assert any("image_aspect_ratio" in note for note in exported.notes)


def test_tokens_around_the_picture(tmp_path: Path) -> None:
    """The prompt that is exported has none, and the answers would be others."""
    checkpoint = made(tmp_path, "llava")
    edit_json(checkpoint / "config.json", lambda c: c.update(mm_use_im_start_end=True))
    refused(checkpoint, tmp_path / "out", "mm_use_im_start_end", "use a checkpoint")


def _set(key: str, **values: object) -> Callable[[dict[str, Any]], object]:
    return lambda config: config[key].update(values)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda c: c.update(text_config=[1]), ("text_config", "[1]")),
        (lambda c: c.update(vision_config="clip"), ("vision_config", "'clip'")),
        (_set("text_config", model_type="mistral"), ("mistral", "LLaMA")),
        (_set("vision_config", model_type="siglip_vision_model"), ("siglip_vision_model", "CLIP")),
        (lambda c: c.update(vision_feature_select_strategy="full"), ("cls_patch", "'patch'")),
        (lambda c: c.update(vision_feature_layer=[-2, -5]), ("[-2, -5]", "integer")),
        (lambda c: c.update(projector_hidden_act="relu"), ("mlp2x_relu", "mlp2x_gelu")),
        (_set("text_config", rope_scaling={"type": "linear", "factor": 2.0}), ("linear",)),
        (_set("text_config", head_dim=48), ("head_dim", "48")),
        (_set("text_config", attention_bias=True), ("attention_bias",)),
        (lambda c: c.update(architectures=["LlavaNextForConditionalGeneration"]), ("llava",)),
    ],
)
def test_a_nested_configuration_that_cannot_be_right(
    change: Callable[[dict[str, Any]], object], parts: tuple[str, ...], tmp_path: Path
) -> None:
    checkpoint = made(tmp_path, "llava", naming="hf", tower="all")
    edit_json(checkpoint / "config.json", change)
    refused(checkpoint, tmp_path / "out", "config.json", *parts)


def test_a_separate_tower_is_found_by_its_name(tmp_path: Path) -> None:
    """As for Imp: who downloaded both gives one."""
    checkpoint = made(tmp_path, "mobilevlm", tower="separate")
    assert locate(str(checkpoint), None).tower == tower_of(checkpoint).resolve()
    config = json.loads((checkpoint / "config.json").read_text())
    assert config["mm_projector_type"] == "ldpnet"
