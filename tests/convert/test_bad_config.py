"""Configurations that cannot be right: refused before a byte is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imp_deploy.convert.families import family_of
from imp_deploy.errors import BadInput
from tests.checkpoints import tower_of
from tests.small import complaint, copied, edit_json, one_sentence, refused, run_export

NOT_SIZES: tuple[Any, ...] = (0, -1, 1.5, 64.0, True, "64", [64], {}, 2**31, 10**300, float("inf"))
NOT_NUMBERS: tuple[Any, ...] = (0, -1, True, "1e-5", [], {}, 10**300, float("nan"), float("inf"))
ODD: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**300, "", "x", "\0", [], ["a"], {}, {"a": 1})


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"nonsense", b'{"a": 1,}', b"\xff\xfe{}", b'{"a": "\\ud800"}'),
        *(b"[]", b"null", b"1", b'"text"', b"true", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"),
    ],
    ids=lambda content: repr(content[:12]),
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_broken_json(file: str, content: bytes, checkpoint: Path, out: Path) -> None:
    """A damaged file must be named, not end in a traceback of the JSON library."""
    (checkpoint / file).write_bytes(content)
    refused(checkpoint, out, str(checkpoint / file), "download it again")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_folder_instead_of_a_file(file: str, checkpoint: Path, out: Path) -> None:
    """Half of a download may leave anything."""
    (checkpoint / file).unlink()
    (checkpoint / file).mkdir()
    for other in ("vocab.json", "merges.txt"):
        (checkpoint / other).unlink()
    refused(checkpoint, out, str(checkpoint))


def test_missing_config(checkpoint: Path, out: Path) -> None:
    """Weights alone do not say what they are."""
    (checkpoint / "config.json").unlink()
    refused(checkpoint, out, str(checkpoint / "config.json"), "missing")


@pytest.mark.parametrize(
    "key", ["n_embd", "n_layer", "n_head", "n_head_kv", "n_inner", "n_positions", "vocab_size"]
)
@pytest.mark.parametrize("value", NOT_SIZES, ids=lambda value: repr(value)[:12])
def test_sizes_that_are_none(key: str, value: Any, checkpoint: Path, out: Path) -> None:
    """A zero divides, a huge number fills the memory, a fraction is written as another type."""
    edit_json(checkpoint / "config.json", lambda c: c.update({key: value}))
    refused(checkpoint, out, str(checkpoint / "config.json"), key)


@pytest.mark.parametrize("value", NOT_SIZES, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(
    "key",
    [
        *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
        *("image_size", "patch_size"),
    ],
)
def test_tower_sizes_that_are_none(key: str, value: Any, checkpoint: Path, out: Path) -> None:
    """The same for the tower, whose heads no tensor shows."""
    edit_json(checkpoint / "config.json", lambda c: c["vision_tower_config"].update({key: value}))
    refused(checkpoint, out, str(checkpoint / "config.json"), f"vision_tower_config: {key}")


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("key", ["layer_norm_epsilon", "rope_theta"])
def test_numbers_that_are_none(key: str, value: Any, checkpoint: Path, out: Path) -> None:
    """An epsilon of NaN or zero gives a model that answers nonsense."""
    edit_json(checkpoint / "config.json", lambda c: c.update({key: value}))
    refused(checkpoint, out, str(checkpoint / "config.json"), key)


@pytest.mark.parametrize("value", [1.5, 1000, "x", [], "pad2", ["square"]], ids=repr)
@pytest.mark.parametrize(
    "key",
    [
        *("image_aspect_ratio", "mm_projector_type", "mm_vision_select_layer"),
        *("mm_vision_select_feature", "activation_function", "rope_scaling", "mm_hidden_size"),
        *("vision_tower_config", "rotary_dim", "qk_layernorm"),
    ],
)
def test_options_that_imp_does_not_have(key: str, value: Any, checkpoint: Path, out: Path) -> None:
    """An option that is ignored is a model that computes something else than it was trained to."""
    edit_json(checkpoint / "config.json", lambda c: c.update({key: value}))
    refused(checkpoint, out, str(checkpoint))


@pytest.mark.parametrize(
    "change",
    [
        {"n_layer": 2},
        {"n_layer": 1000},
        {"n_layer": 2**31 - 1},
        {"n_head": 3},
        {"n_head_kv": 1},
        {"n_inner": 128},
        {"n_embd": 128},
        {"vocab_size": 1024},
        {"rotary_dim": 33},
        {"rotary_dim": 7},
        {"mm_hidden_size": 64},
        {"model_type": "llava", "architectures": ["LlavaForCausalLM"]},
        {"model_type": None, "architectures": None},
        {"model_type": "imp_qwen2"},
        {"model_type": ["imp"], "architectures": "ImpForCausalLM"},
    ],
    ids=repr,
)
def test_config_contradicts_the_weights(
    change: dict[str, Any], checkpoint: Path, out: Path
) -> None:
    """A config of another model: everything loads, and the answers are noise."""
    edit_json(checkpoint / "config.json", lambda c: c.update(change))
    refused(checkpoint, out, str(checkpoint))


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 64},
        {"intermediate_size": 48},
        {"num_hidden_layers": 4},
        {"num_hidden_layers": 2**31 - 1},
        {"num_attention_heads": 5},
        {"image_size": 112},
        {"patch_size": 16},
        {"patch_size": 57},
        {"hidden_act": "quick_gelu"},
        {"hidden_size": None},
        {"num_attention_heads": None},
    ],
    ids=repr,
)
def test_tower_config_contradicts_the_tower(
    change: dict[str, Any], checkpoint: Path, out: Path
) -> None:
    """The tensors decide; a config that says otherwise belongs to another checkpoint."""
    edit_json(checkpoint / "config.json", lambda c: c["vision_tower_config"].update(change))
    refused(checkpoint, out, str(checkpoint))


def test_two_configs_of_one_tower_disagree(made: Path, tmp_path: Path, out: Path) -> None:
    """The number of heads shows in no tensor: only the two files can tell."""
    checkpoint, tower = copied(made / "alone", tmp_path / "one"), tower_of(made / "alone")
    stated = json.loads((tower / "config.json").read_text())["vision_config"]
    stated["num_attention_heads"] = 4
    edit_json(checkpoint / "config.json", lambda c: c.update(vision_tower_config=stated))
    parts = ("num_attention_heads 4", str(tower / "config.json"), "says 2")
    refused(checkpoint, out, *parts, tower=tower)


@pytest.mark.parametrize("kind", ["qwen2", "phi3"])
@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
def test_odd_values_in_other_families(kind: str, value: Any, made: Path, tmp_path: Path) -> None:
    """Whatever stands in config.json, it is used or refused, and never a traceback."""
    checkpoint = copied(made / kind, tmp_path / kind)
    path = checkpoint / "config.json"
    good = path.read_text("utf-8")
    for key in (*json.loads(good), "rope_parameters", "partial_rotary_factor"):
        edit_json(path, lambda c, key=key: c.update({key: value}))  # type: ignore[misc]
        message = complaint(checkpoint)
        assert not message or one_sentence(message), message
        path.write_text(good, "utf-8")


def test_every_family_is_named() -> None:
    """Whoever gives another model learns which ones there are."""
    with pytest.raises(BadInput, match="imp, imp_qwen2, imp_phi3"):
        family_of({"model_type": "bert"}, "config.json")


@pytest.mark.parametrize("resolution", [1, 13, 57, 384, 10**9])
def test_resolution_that_the_checkpoint_cannot_give(
    resolution: int, checkpoint: Path, out: Path
) -> None:
    """Larger than trained, or less than one patch: there is nothing to interpolate from."""
    parts = ("56 pixels", f"resolution {resolution}", "ask for 14 to 56")
    refused(checkpoint, out, *parts, resolutions=(56, resolution))


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "", "a\nb", "a\0b", "x" * 300, "a\\b"])
def test_name_that_is_no_file_name(name: str, checkpoint: Path, out: Path) -> None:
    """The name becomes part of every file's."""
    refused(checkpoint, out, repr(name), "--name", name=name)


def test_names_that_are_unusual(checkpoint: Path, tmp_path: Path) -> None:
    """Folders have spaces, brackets, line ends and letters of every script."""
    for name in ("My Imp [v1.5] (3B)", "模型 ü", "%s {x} :smile:"):
        place = checkpoint.rename(tmp_path / f"{name}\n!")
        exported = run_export(place, tmp_path / f"out\n{name}", name=name)
        assert exported.bundle.name == name
        assert exported.bundle.source.model == str(place)
        checkpoint = place
