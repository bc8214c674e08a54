"""A release that was broken on the way must be far from the one before, whatever it answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from imp_deploy import bundle as bundles
from imp_deploy.bench.quality.pairs import pairs
from imp_deploy.errors import BadInput
from imp_deploy.files import sha256_of
from imp_deploy.quality import metrics
from tests.bench.quality.subjects import compare, scenes
from tests.small import copied, edit_json, run_export, small_checkpoint


def edited(bundle: Path, place: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy in which the tensors of the file `name` are changed, as if exported so."""
    shutil.copytree(bundle, place)
    reader = GGUFReader(place / name, "r+")
    change({tensor.name: tensor.data for tensor in reader.tensors})
    reader.data.flush()

    def rehash(manifest: dict[str, Any]) -> None:
        for file in manifest["files"]:
            if file["path"] == name:
                file["sha256"] = sha256_of(place / name)

    edit_json(place / bundles.MANIFEST, rehash)
    return place


def swap_q_and_k(tensors: dict[str, Any]) -> None:
    """In every block of the tower, as a wrong name map would."""
    for name, q in tensors.items():
        if ".attn_q." in name:
            k = tensors[name.replace("attn_q", "attn_k")]
            q[:], k[:] = k.copy(), q.copy()


def figures(bundle: Path, reference: Path, out: Path) -> dict[str, float]:
    (found,) = compare(bundle, scenes(8), out, reference=reference, bits=(16,), resolutions=(196,))
    return metrics(found.result.items)


def test_the_release_itself(demo_bundle: Path, tmp_path: Path) -> None:
    copy = copied(demo_bundle, tmp_path / "copy")
    found = figures(copy, demo_bundle, tmp_path / "out")
    assert found == {
        **{"mean_kl": 0.0, "p99_kl": 0.0, "top1_agreement": 1.0},
        **{"perplexity_ratio": 1.0, "worst_cosine": 1.0, "mean_cosine": 1.0},
    }


def test_a_damaged_tower(demo_bundle: Path, tmp_path: Path) -> None:
    """With the tower's own bundle as reference it would compare with itself and look fine."""
    name = "mmproj-Imp-Demo-196-F16.gguf"
    broken = edited(demo_bundle, tmp_path / "broken", name, swap_q_and_k)
    found = figures(broken, demo_bundle, tmp_path / "out")
    assert found["worst_cosine"] < 0.95
    assert found["mean_cosine"] < 0.99
    assert found["mean_kl"] > 0.01
    itself = figures(broken, broken, tmp_path / "itself")
    assert itself["worst_cosine"] == 1.0


def test_another_preprocessing(demo_bundle: Path, tmp_path: Path) -> None:
    """Each side is asked as its own bundle says: padding is no property of a file's weights."""
    padding = copied(demo_bundle, tmp_path / "padding")
    edit_json(padding / bundles.MANIFEST, lambda m: m["preprocess"].update(mode="pad"))
    found = figures(padding, demo_bundle, tmp_path / "out")
    assert found["worst_cosine"] < 0.9
    assert figures(demo_bundle, demo_bundle, tmp_path / "other")["worst_cosine"] == 1.0


def test_another_template(demo_bundle: Path, tmp_path: Path) -> None:
    changed = copied(demo_bundle, tmp_path / "changed")
    edit_json(
        changed / bundles.MANIFEST,
        lambda m: m["prompt"].update(template="<image>{question}"),
    )
    found = figures(changed, demo_bundle, tmp_path / "out")
    assert found["mean_kl"] > 0.01
    assert found["worst_cosine"] == 1.0


def test_another_model_is_not_compared(
    demo_bundle: Path, small_bundle: Path, tmp_path: Path
) -> None:
    other = small_checkpoint(tmp_path / "other", image_size=196)
    run_export(other, tmp_path / "bundle", bits=(16,), resolutions=(196,))
    with pytest.raises(BadInput, match=r"has (a vocabulary|embeddings) of .* give --reference"):
        pairs(tmp_path / "bundle", reference=demo_bundle, bits=(16,))
    with pytest.raises(BadInput, match=r"no 16-bit vision tower at 196 pixels.*--reference"):
        pairs(demo_bundle, reference=small_bundle, resolutions=(196,))
