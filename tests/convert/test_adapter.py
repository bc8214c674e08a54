"""LoRA folders: read as PEFT and the training code write them, and merged as PEFT merges."""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imp_deploy.convert.adapter import open_adapter
from imp_deploy.convert.checkpoint import is_adapter
from tests.lora import FC1, PREFIX, Array, Q, applied, as_bin, matrices, read, write


def convert(folder: Path, dtype: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    values = {n: t.to(getattr(torch, dtype)).contiguous() for n, t in load_file(path).items()}
    path.unlink()
    save_file(values, path)


@pytest.fixture(scope="module")
def base_model() -> Any:
    import torch
    from transformers import PhiConfig, PhiForCausalLM

    torch.manual_seed(0)
    return PhiForCausalLM(
        PhiConfig(
            vocab_size=96,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
        )
    )


@pytest.fixture(scope="module")
def base(base_model: Any) -> dict[str, Array]:
    return {name: t.numpy().copy() for name, t in base_model.state_dict().items()}


@contextlib.contextmanager
def noisy() -> Iterator[None]:
    """PEFT says how it feels about odd settings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def trained(base_model: Any, **settings: Any) -> Any:
    """A PEFT model, every trainable value of which is random."""
    import torch
    from peft import LoraConfig, get_peft_model

    chosen: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj", "dense", "fc1", "fc2"],
        "task_type": "CAUSAL_LM",
    }
    torch.manual_seed(1)
    with noisy():
        model = get_peft_model(copy.deepcopy(base_model), LoraConfig(**{**chosen, **settings}))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def by_peft(base_model: Any, folder: Path) -> dict[str, Array]:
    from peft import PeftModel

    with noisy():
        model = PeftModel.from_pretrained(copy.deepcopy(base_model), folder).merge_and_unload()
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def assert_equal(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> None:
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-6, atol=2e-6, err_msg=name)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilized": {"use_rslora": True, "r": 5},
    "patterns": {
        "rank_pattern": {
            "[q]_proj": 2,
            r"\w_proj": 5,
            r"layers\.1\..*\.fc[12]": 6,
            "^model.layers.0.mlp.fc1": 3,
        },
        "alpha_pattern": {"model.layers.0.mlp.fc1": 1, "1.self_attn.dense": 32, "proj": 999},
    },
    "stabilized-patterns": {"use_rslora": True, "rank_pattern": {"fc2": 3}},
    "all-biases": {"bias": "all"},
    "adapted-biases": {"bias": "lora_only"},
    "modules-to-save": {"modules_to_save": ["lm_head", "final_layernorm"]},
    "biases-and-modules": {"bias": "all", "modules_to_save": ["lm_head"]},
    "output-head": {"target_modules": ["lm_head", "q_proj"]},
}


@pytest.mark.parametrize("case", CASES)
def test_the_merge_is_that_of_peft(
    case: str, base_model: Any, base: dict[str, Array], tmp_path: Path
) -> None:
    """Otherwise the exported model is not the one that was trained."""
    with noisy():
        trained(base_model, **CASES[case]).save_pretrained(tmp_path)
    ours = applied(open_adapter(tmp_path), base)
    assert_equal(ours, by_peft(base_model, tmp_path))
    changed = [name for name in base if not np.array_equal(base[name], ours[name])]
    assert changed, "the adapter does nothing, so this test shows nothing"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("weights", ["bin", "safetensors"])
def test_adapters_in_half_precision_and_in_old_files(
    dtype: str, weights: str, base_model: Any, base: dict[str, Array], tmp_path: Path
) -> None:
    trained(base_model, bias="all").save_pretrained(tmp_path)
    convert(tmp_path, dtype)
    if weights == "bin":
        as_bin(tmp_path)
    adapter = open_adapter(tmp_path)
    assert [path.name for path in adapter.weight_files] == [f"adapter_model.{weights}"]
    assert_equal(applied(adapter, base), by_peft(base_model, tmp_path))


def test_names_as_they_are_in_memory(
    base_model: Any, base: dict[str, Array], tmp_path: Path
) -> None:
    """Training code that gathers parameters itself saves `lora_A.default`, and frozen copies."""
    model = trained(base_model, bias="all", modules_to_save=["lm_head"])
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    kept = ("lora_", ".bias", "modules_to_save", "original_module")
    write(
        tmp_path,
        {n.removeprefix(PREFIX): t for n, t in state.items() if any(part in n for part in kept)},
        bias="all",
        modules_to_save=["lm_head"],
    )
    theirs = {n: t.numpy() for n, t in model.merge_and_unload().state_dict().items()}
    assert_equal(applied(open_adapter(tmp_path), base), theirs)


# What is in the folder.


def test_the_training_codes_folder(tmp_path: Path) -> None:
    """The projector is trained as a whole and lies in a file of its own, under PEFT's names."""
    import torch

    write(tmp_path, matrices(Q), use_rslora=True, lora_alpha=6)
    names = (
        "model.mm_projector.0.weight",
        "lm_head.weight",
        "model.layers.0.self_attn.q_proj.bias",
    )
    torch.save(
        {PREFIX + n.replace("q_proj", "q_proj.base_layer"): torch.zeros(3) for n in names},
        tmp_path / "non_lora_trainables.bin",
    )
    (tmp_path / "config.json").write_text('{"model_type": "imp"}')
    adapter = open_adapter(tmp_path)
    assert set(adapter.whole) == set(names)
    assert list(adapter.modules) == [Q]
    assert adapter.modules[Q].scale == 6 / math.sqrt(4)
    assert adapter.config == {"model_type": "imp"}
    assert adapter.base_name == "microsoft/phi-2"
    assert [p.name for p in adapter.weight_files] == [
        "adapter_model.safetensors",
        "non_lora_trainables.bin",
    ]


@pytest.mark.parametrize("saved", ["base_model.model.", "base_model.", "model.", ""])
@pytest.mark.parametrize("stem", ["model", "transformer"])
def test_names_of_trainables(saved: str, stem: str, tmp_path: Path) -> None:
    """Whichever wrapper was peeled off when they were saved, they land in the model."""
    import torch

    name = f"{stem}.mm_projector.2.bias"
    write(tmp_path, matrices(Q))
    torch.save({saved + name: torch.zeros(3)}, tmp_path / "non_lora_trainables.bin")
    assert list(open_adapter(tmp_path).whole) == [name]


def test_the_adapters_own_tensor_wins(tmp_path: Path) -> None:
    """The training code writes trained biases twice and loads the adapter last."""
    import torch

    write(tmp_path, matrices(Q) | {f"{Q}.bias": np.ones(16, dtype=np.float32)}, bias="all")
    torch.save({f"{PREFIX}{Q}.bias": torch.zeros(16)}, tmp_path / "non_lora_trainables.bin")
    assert read(open_adapter(tmp_path).whole[f"{Q}.bias"]).tolist() == [1.0] * 16


def test_safetensors_before_bin_as_in_peft(tmp_path: Path) -> None:
    as_bin(write(tmp_path, matrices(FC1)))
    write(tmp_path, matrices(Q))
    assert list(open_adapter(tmp_path).modules) == [Q]


def test_what_an_adapter_is(tmp_path: Path) -> None:
    """A whole model with an adapter's leftovers beside it stays a whole model."""
    assert not is_adapter(tmp_path)
    assert is_adapter(write(tmp_path, matrices(Q)))
    (tmp_path / "model.safetensors").touch()
    assert not is_adapter(tmp_path)
