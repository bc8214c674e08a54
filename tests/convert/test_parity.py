"""A bundle computes what PyTorch computes, for every layout that a checkpoint comes in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from imp_deploy.convert.export import Exported, export
from imp_deploy.convert.hub import Located, locate
from imp_deploy.convert.plan import Options
from imp_deploy.convert.verify import Bounds, Row, failures, verify
from imp_deploy.errors import BadInput
from tests.checkpoints import Sizes, make_checkpoint
from tests.pictures import write_all
from tests.quiet import Quiet

GROUPED = Sizes(kv_heads=2)


@dataclass(frozen=True)
class Layout:
    """Arguments of `make_checkpoint`, and which of its sides to export."""

    arguments: dict[str, Any] = field(default_factory=dict)
    resolutions: tuple[int, ...] = (384, 196)


LAYOUTS = {
    "phi2-hub": Layout({"family": "phi2", "naming": "hub"}),
    "phi2-hub-all-layers-bin": Layout(
        {"family": "phi2", "naming": "hub", "tower": "all", "weights": "bin", "dtype": "bf16"},
        (196,),
    ),
    "phi2-hub-196": Layout({"family": "phi2", "naming": "hub", "image_size": 196}, (196,)),
    "phi2-train-pad-sharded": Layout(
        {"family": "phi2", "naming": "train", "aspect": "pad", "shards": 3, "dtype": "bf16"}
    ),
    "phi2-train-separate-f32": Layout(
        {"family": "phi2", "naming": "train", "tower": "separate", "dtype": "f32"}, (196,)
    ),
    "qwen2-separate-bin-sharded": Layout(
        {
            "family": "qwen2",
            "naming": "train",
            "tower": "separate",
            "weights": "bin",
            "shards": 2,
            "sizes": GROUPED,
        }
    ),
    "qwen2-pad-f32": Layout(
        {"family": "qwen2", "naming": "train", "aspect": "pad", "dtype": "f32"}, (196,)
    ),
    "phi3-pad": Layout(
        {"family": "phi3", "naming": "train", "aspect": "pad", "dtype": "bf16", "sizes": GROUPED}
    ),
    "phi3-square-bin-all": Layout(
        {"family": "phi3", "naming": "train", "weights": "bin", "tower": "all"}, (196,)
    ),
    "mobilevlm-bf16-sharded": Layout(
        {"family": "mobilevlm", "naming": "train", "shards": 2, "dtype": "bf16"}, (336,)
    ),
    "mobilevlm-separate-f32-grouped": Layout(
        {
            "family": "mobilevlm",
            "naming": "train",
            "tower": "separate",
            "dtype": "f32",
            "sizes": GROUPED,
        },
        (336,),
    ),
    "mobilevlm2-bin-all-stray": Layout(
        {
            "family": "mobilevlm2",
            "naming": "train",
            "weights": "bin",
            "tower": "all",
            "stray": True,
        },
        (336,),
    ),
    "mobilevlm2-small-patches": Layout(
        {
            "family": "mobilevlm2",
            "naming": "train",
            "sizes": Sizes(patch=2),
            "image_size": 48,
            "tower": "separate",
        },
        (48,),
    ),
    "llava-separate-bin-old": Layout(
        {
            "family": "llava",
            "naming": "train",
            "tower": "separate",
            "weights": "bin",
            "old_buffers": True,
        },
        (336,),
    ),
    "llava-bf16-grouped": Layout(
        {"family": "llava", "naming": "train", "dtype": "bf16", "sizes": GROUPED}, (336, 224)
    ),
    "llava-hf-sharded": Layout({"family": "llava", "naming": "hf", "shards": 3}, (336,)),
    "llava-hf4-f32": Layout({"family": "llava", "naming": "hf4", "dtype": "f32"}, (196,)),
    "llava-hf5-bf16": Layout({"family": "llava", "naming": "hf5", "dtype": "bf16"}, (336,)),
    "llava-hf5-saved": Layout({"family": "llava", "naming": "hf5-saved"}, (336,)),
}


@dataclass(frozen=True)
class Case:
    located: Located
    exported: Exported
    bundle: Path


def make(folder: Path, layout: Layout, **options: Any) -> Case:
    located = locate(str(make_checkpoint(folder / "checkpoint", **layout.arguments)), None)
    chosen = Options(bits=(16,), resolutions=layout.resolutions, **options)
    exported = export(
        located.folder, folder / "bundle", chosen, tower=located.tower, progress=Quiet()
    )
    return Case(located, exported, folder / "bundle")


def rows_of(case: Case, images: list[Path], **wanted: Any) -> list[Row]:
    return verify(
        case.bundle,
        case.exported.bundle,
        case.located,
        images,
        question="What is in the picture?",
        max_tokens=12,
        **wanted,
    )


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_exact(name: str, tmp_path: Path) -> None:
    """Otherwise the phone answers, fluently, something that the model would not have said."""
    case = make(tmp_path, LAYOUTS[name])
    rows = rows_of(case, list(write_all(tmp_path).values()))
    assert len(rows) == 6 * len(LAYOUTS[name].resolutions)
    assert failures(rows, Bounds()) == []
    assert min(row.worst_cosine for row in rows) > 0.99999


def test_the_reference_of_another_model_is_refused(tmp_path: Path) -> None:
    """A mistake in the command line is no lost parity, and no crash."""
    case = make(tmp_path, LAYOUTS["phi2-hub-196"])
    other = make(tmp_path / "other", LAYOUTS["mobilevlm2-small-patches"])
    with pytest.raises(BadInput, match="give the checkpoint that the bundle was made from"):
        rows_of(replace(case, located=other.located), [write_all(tmp_path)["landscape"]])


def test_a_lost_layer_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libmtmd runs one block less unless the file names the layer, and reports nothing."""
    from imp_deploy.convert import plan

    real = plan.mmproj_metadata

    def without_layer(*arguments: Any) -> dict[str, Any]:
        return {k: v for k, v in real(*arguments).items() if k != "clip.vision.feature_layer"}

    monkeypatch.setattr(plan, "mmproj_metadata", without_layer)
    case = make(tmp_path, LAYOUTS["phi2-hub-196"])
    images = [write_all(tmp_path)["landscape"]]
    assert failures(rows_of(case, images), Bounds())


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", ["phi2-hub-196", "mobilevlm-bf16-sharded", "llava-hf5-saved"])
def test_a_quantized_tower_runs(name: str, bits: int, tmp_path: Path) -> None:
    """Fewer bits change the embeddings, so no bound applies unless the user gives one. That they
    change little shows that the zeros behind the matrices are where they should be."""
    case = make(tmp_path, LAYOUTS[name], vision_bits=bits)
    rows = rows_of(case, [write_all(tmp_path)["landscape"]])
    assert failures(rows, Bounds()) == []
    assert {8: 0.999, 4: 0.8}[bits] < rows[0].worst_cosine < 0.99999
    assert failures(rows, Bounds(min_cosine=0.99999))
    assert not any("F16" in note for note in case.exported.notes)


def test_a_default_bundle_is_verified_as_it_is_used(tmp_path: Path) -> None:
    """Every language model with its own tower, and no tower is left out whatever is asked for."""
    located = locate(
        str(make_checkpoint(tmp_path / "checkpoint", family="phi2", naming="hub")), None
    )
    out = tmp_path / "bundle"
    exported = export(located.folder, out, Options(resolutions=(196,)), progress=Quiet())
    case = Case(located, exported, out)
    image = write_all(tmp_path)["tiny"]
    rows = rows_of(case, [image])
    assert [(row.bits, row.vision_bits) for row in rows] == [(16, 16), (8, 8), (4, 8)]
    few = rows_of(case, [image], bits=(4,))
    assert [(row.bits, row.vision_bits) for row in few] == [(4, 8), (4, 16)]
    assert failures([*rows, *few], Bounds()) == []
