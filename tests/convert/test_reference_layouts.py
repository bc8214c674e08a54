"""The random checkpoints of every layout are one model to the reference, with and without LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imp_deploy.convert.reference import load_reference
from imp_deploy.errors import BadInput
from tests.checkpoints import Sizes, make_checkpoint, make_lora, make_plain, tower_of
from tests.convert.test_reference import answer, assert_same, picture

pytest.importorskip("torch")
pytest.importorskip("transformers")

# 24 x 24 patches, and grouped queries.
SIZES = Sizes(patch=2, kv_heads=2)
PICTURE = picture()
CLIP: dict[str, Any] = {"image_size": 48, "sizes": SIZES, "tokenizer": None, "naming": "train"}
IMP: dict[str, Any] = {"image_size": 56, "tokenizer": None}


@pytest.mark.parametrize(
    ("family", "layouts"),
    [
        (
            "llava",
            [
                {"naming": "hf", "shards": 2},
                {"naming": "hf4"},
                {"naming": "hf5", "weights": "bin"},
                {"naming": "hf5-saved", "dtype": "bf16"},
                {"tower": "separate", "old_buffers": True},
            ],
        ),
        ("mobilevlm", [{"tower": "all", "shards": 3}, {"tower": "separate", "weights": "bin"}]),
        ("mobilevlm2", [{"stray": True}, {"tower": "separate", "old_buffers": True}]),
    ],
    ids=["llava", "mobilevlm", "mobilevlm2"],
)
def test_every_layout_is_the_same_model(
    family: str, layouts: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Else the verdict on a bundle would depend on how its checkpoint happens to be stored."""
    options = CLIP | {"family": family}
    wanted = load_reference(make_checkpoint(tmp_path / "train", **options))
    embeddings, ids, _ = answer(wanted)
    assert embeddings.shape == (576 if family == "llava" else 144, SIZES.hidden)
    assert len(set(ids)) > 2
    # llava-hf's table has rows for two tokens more, so its random one is another.
    by_rows = {wanted.llm.config.vocab_size: wanted}
    for i, layout in enumerate(layouts):
        other = load_reference(make_checkpoint(tmp_path / str(i), **options | layout))
        np.testing.assert_array_equal(other.embed(PICTURE), embeddings)
        assert_same(by_rows.setdefault(other.llm.config.vocab_size, other), other)


@pytest.mark.parametrize(
    ("family", "llm", "naming", "base"),
    [
        ("phi2", "phi2", "hub", "train"),
        ("phi2", "phi2", "train", "hub"),
        ("qwen2", "qwen2", "train", "train"),
        ("phi3", "phi3", "train", "train"),
    ],
)
def test_an_imp_adapter_on_its_plain_base(
    family: Any, llm: Any, naming: Any, base: Any, tmp_path: Path
) -> None:
    """The folder that the training code leaves, in both namings of Phi-2, is one model."""
    plain = make_plain(tmp_path / "plain", llm, base, tokenizer=None)
    options: dict[str, Any] = {"family": family, "image_size": 56, "tower": "separate"}
    lora = make_lora(tmp_path / "lora", plain, naming=naming, **options)
    got = load_reference(lora, base=plain)
    straight = make_plain(tmp_path / "straight", llm, naming, tokenizer=None)
    whole = make_checkpoint(tmp_path / "whole", family=family, naming=base, **IMP)
    assert_same(got, load_reference(lora, base=straight))
    with pytest.raises(BadInput, match="--vision-tower"):
        load_reference(make_lora(tmp_path / "no", plain, naming=naming, family=family), base=plain)

    trained = load_reference(whole)
    difference = got.text_logits([5, 6, 7]) - trained.text_logits([5, 6, 7])
    assert np.abs(difference).max() > 0.5  # the adapter is added


@pytest.mark.parametrize("naming", ["train", "hf", "hf5"])
def test_an_adapter_on_a_whole_llava(naming: Any, tmp_path: Path) -> None:
    """Who goes on from a published LLaVA, in whatever layout, changes its words, keeps its tower
    and replaces its projector."""
    base = make_checkpoint(tmp_path / "base", **CLIP | {"family": "llava", "naming": naming})
    options: dict[str, Any] = {"family": "llava", "sizes": SIZES, "image_size": 48}
    lora = make_lora(
        tmp_path / "lora",
        base,
        naming=naming,
        rank_pattern={"q_proj": 4},
        alpha_pattern={"down_proj": 5},
        modules_to_save=["lm_head"],
        keys="default",
        weights="bin",
        **options,
    )
    got, before = load_reference(lora, base=base), load_reference(base)
    assert np.abs(got.embed(PICTURE) - before.embed(PICTURE)).max() > 0.1
    assert np.abs(got.text_logits([5, 6]) - before.text_logits([5, 6])).max() > 0.5
    for name, tensor in before.tower.modules.state_dict().items():
        assert got.tower.modules.state_dict()[name].equal(tensor)


@pytest.mark.parametrize(("family", "kind"), [("mobilevlm", "LDP"), ("mobilevlm2", "LDPv2")])
def test_a_mobilevlm_adapter_with_everything_in_it(family: Any, kind: str, tmp_path: Path) -> None:
    """Projector and tower may have been trained too, and stand beside the adapter."""
    plain = make_plain(tmp_path / "plain", "llama", tokenizer=None, sizes=SIZES)
    lora = make_lora(
        tmp_path / "lora",
        plain,
        family=family,
        naming="train",
        tower="inside",
        rslora=True,
        sizes=SIZES,
        image_size=48,
    )
    got = load_reference(lora, base=plain)
    assert type(got.projector).__name__ == kind
    assert got.embed(PICTURE).shape == (144, SIZES.hidden)
    with pytest.raises(BadInput, match=r"leave .* out"):
        load_reference(lora, base=plain, vision_tower=tower_of(lora))
