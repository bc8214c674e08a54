"""LoRA folders that cannot be merged: nothing in them is passed over in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imp_deploy.convert.adapter import open_adapter
from imp_deploy.errors import BadInput
from tests.lora import FC1, PREFIX, Q, matrices, write
from tests.small import one_sentence


def refused(folder: Path, *parts: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_adapter(folder)
    message = str(caught.value)
    assert one_sentence(message), message
    assert [part for part in parts if part not in message] == [], message


BAD_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "another method": ({"peft_type": "IA3"}, "IA3"),
    "no method": ({"peft_type": None}, "peft_type"),
    "no rank": ({"r": None}, "r is None"),
    "rank of nothing": ({"r": 0}, "r is 0"),
    "rank as a text": ({"r": "4"}, "r is '4'"),
    "no alpha": ({"lora_alpha": None}, "lora_alpha"),
    "alpha that is no number": ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
    "transposed": ({"fan_in_fan_out": True}, "fan_in_fan_out"),
    "DoRA": ({"use_dora": True}, "use_dora"),
    "bias of the adapter": ({"lora_bias": True}, "lora_bias"),
    "tokens": ({"trainable_token_indices": [1]}, "trainable_token_indices"),
    "layers twice": ({"layer_replication": [[0, 2], [0, 2]]}, "layer_replication"),
    "parameters": ({"target_parameters": ["experts.up"]}, "target_parameters"),
    "activated by a text": ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens"),
    "quantized": ({"use_qalora": True}, "use_qalora"),
    "a setting of tomorrow": ({"use_superlora": True}, "use_superlora"),
    "biases of other kinds": ({"bias": "some"}, "bias is 'some'"),
    "pissa": ({"init_lora_weights": "pissa"}, "path_initial_model_for_weight_conversion"),
    "pissa, fast": ({"init_lora_weights": "pissa_niter_16"}, "pissa_niter_16"),
    "olora": ({"init_lora_weights": "olora"}, "olora"),
    "loftq": ({"init_lora_weights": "loftq"}, "loftq"),
    "corda": ({"init_lora_weights": "corda"}, "corda"),
    "lora_ga": ({"init_lora_weights": "lora_ga"}, "lora_ga"),
    "patterns in a list": ({"rank_pattern": ["q_proj"]}, "rank_pattern"),
    "a broken pattern": ({"rank_pattern": {"q_proj(": 2}}, "q_proj("),
    "a pattern's rank": ({"rank_pattern": {"q_proj": -1}}, "rank_pattern of 'q_proj' is -1"),
    "a pattern's alpha": ({"alpha_pattern": {"q_proj": "x"}}, "alpha_pattern of 'q_proj' is 'x'"),
    "stabilized, perhaps": ({"use_rslora": 1}, "use_rslora is 1"),
    "base as a number": ({"base_model_name_or_path": 5}, "base_model_name_or_path is 5"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_settings_that_a_plain_merge_does_not_follow(case: str, tmp_path: Path) -> None:
    settings, part = BAD_SETTINGS[case]
    refused(write(tmp_path, matrices(Q), **settings), "adapter_config.json", part)


def test_starting_values_that_leave_the_base_alone(tmp_path: Path) -> None:
    for start in (True, False, None, "gaussian", "eva", "orthogonal", "mica"):
        open_adapter(write(tmp_path, matrices(Q), init_lora_weights=start))


ONE = np.zeros((4, 8), dtype=np.float32)
BAD_TENSORS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "A alone": ({f"{FC1}.lora_A.weight": ONE}, ("lora_A", FC1, "without its lora_B")),
    "B alone": ({f"{FC1}.lora_B.weight": ONE}, ("lora_B", FC1, "without its lora_A")),
    "other ranks": (matrices(FC1, rank=3), (FC1, "3 in lora_A", "4 in adapter_config.json")),
    "unequal ranks": (
        {f"{FC1}.lora_A.weight": ONE, f"{FC1}.lora_B.weight": ONE},
        ("4 in lora_A [4, 8]", "8 in lora_B [4, 8]"),
    ),
    "a convolution": (
        {f"{FC1}.lora_A.weight": ONE[..., None, None], f"{FC1}.lora_B.weight": ONE},
        ("[4, 8, 1, 1]",),
    ),
    "integers": (
        {f"{FC1}.lora_A.weight": ONE.astype(np.int8), f"{FC1}.lora_B.weight": ONE},
        ("I8",),
    ),
    "parts of DeepSpeed": (
        {f"{FC1}.lora_A.weight": np.zeros(0, dtype=np.float32), f"{FC1}.lora_B.weight": ONE},
        ("empty", "gather"),
    ),
    "two adapters": ({f"{Q}.lora_A.other.weight": ONE}, ("lora_A.weight", "lora_A.other.weight")),
    "DoRA's magnitudes": ({f"{Q}.lora_magnitude_vector": ONE}, ("DoRA", "merge_and_unload")),
    "an embedding table": ({"model.embed_tokens.lora_embedding_A": ONE}, ("embedding",)),
    "a bias of the adapter": ({f"{Q}.lora_B.bias": ONE}, ("lora_bias",)),
    "tokens": (
        {"model.embed_tokens.token_adapter.trainable_tokens_delta": ONE},
        ("trained tokens",),
    ),
    "a variant": ({f"{Q}.lora_diag.default": ONE}, ("lora_diag.default", "variant")),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_tensors_that_cannot_be_merged(case: str, tmp_path: Path) -> None:
    """Half an adapter, merged in silence, is a model that nobody trained."""
    tensors, parts = BAD_TENSORS[case]
    refused(write(tmp_path, matrices(Q) | tensors), "adapter_model.safetensors", *parts)


def test_a_tensor_without_pefts_prefix(tmp_path: Path) -> None:
    import torch

    folder = write(tmp_path, matrices(Q))
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"prompt_embeddings": torch.zeros(3)}, folder / "adapter_model.bin")
    refused(folder, "prompt_embeddings", "base_model.model.")


def test_an_adapter_of_nothing(tmp_path: Path) -> None:
    refused(write(tmp_path, {"lm_head.weight": ONE}), "no LoRA matrices")


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    folder = write(tmp_path, matrices(Q))
    (folder / "adapter_model.safetensors").unlink()
    refused(folder, "adapter_model.safetensors or adapter_model.bin", "finish")


@pytest.mark.parametrize("text", ["[1]", "{", ""])
def test_a_configuration_that_is_none(text: str, tmp_path: Path) -> None:
    folder = write(tmp_path, matrices(Q))
    (folder / "adapter_config.json").write_text(text)
    refused(folder, "adapter_config.json")


def test_an_empty_trainable(tmp_path: Path) -> None:
    """DeepSpeed's ZeRO-3 leaves empty tensors where parameters were not gathered."""
    import torch

    write(tmp_path, matrices(Q))
    name = f"{PREFIX}model.mm_projector.0.weight"
    torch.save({name: torch.zeros(0)}, tmp_path / "non_lora_trainables.bin")
    refused(tmp_path, "non_lora_trainables.bin", name, "gather")
