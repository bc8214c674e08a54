"""Language models of transformers, from any config that states their shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from imp_deploy.convert.reference.loading import fill, refusing
from imp_deploy.convert.reference.names import Widths
from imp_deploy.convert.reference.statement import Config, Kind
from imp_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

# What the language model's configuration takes from config.json; nothing else is read, as some
# configs carry another library's keys that contradict these. Token ids are left out on purpose: a
# pad id outside a small table is an error to transformers, and nothing here needs them.
_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "layer_norm_eps",
    "rms_norm_eps",
    "qk_layernorm",
    "attention_bias",
    "mlp_bias",
    "partial_rotary_factor",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "layer_types",
    "tie_word_embeddings",
)


def language_config(kind: Kind, stated: Config, where: str) -> Any:
    """transformers' configuration. What a config leaves out is transformers' default, which is what
    the nested configs of llava-hf mean. Raises `BadInput`."""
    import transformers

    config_type = {
        "phi": transformers.PhiConfig,
        "qwen2": transformers.Qwen2Config,
        "phi3": transformers.Phi3Config,
        "llama": transformers.LlamaConfig,
    }[kind]
    if kind == "phi" and "n_embd" in stated:
        keys = _old_phi(stated, where)
    else:
        keys = {key: stated[key] for key in _KEYS if stated.get(key) is not None}
    with refusing(where):
        return config_type(**keys, pad_token_id=None, bos_token_id=None, eos_token_id=None)


def attention_widths(config: Any) -> Widths:
    """Rows of Q, K and V."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shared = config.num_key_value_heads * head
    return config.num_attention_heads * head, shared, shared


def build_language_model(kind: Kind, config: Any, state: State, where: str) -> Any:
    """PhiForCausalLM, Qwen2ForCausalLM, Phi3ForCausalLM or LlamaForCausalLM. Raises `BadInput`,
    which lists missing, left-over and wrongly shaped tensors."""
    import torch
    import transformers

    model_type = {
        "phi": transformers.PhiForCausalLM,
        "qwen2": transformers.Qwen2ForCausalLM,
        "phi3": transformers.Phi3ForCausalLM,
        "llama": transformers.LlamaForCausalLM,
    }[kind]
    if config.tie_word_embeddings and "model.embed_tokens.weight" in state:
        state = {"lm_head.weight": state["model.embed_tokens.weight"], **state}
    with refusing(f"{where}: the language model"):
        with torch.device("meta"):
            made: Any = model_type(config)
        made.model.rotary_emb = type(made.model.rotary_emb)(config)  # its frequencies: not stored
        return fill(made, state)


def _old_phi(stated: Config, where: str) -> Config:
    """The same keys from the old Phi's."""
    try:
        hidden, heads, layers = stated["n_embd"], stated["n_head"], stated["n_layer"]
        rows = math.ceil(stated["vocab_size"] / 64) * 64  # as the old Phi's configuration does
    except KeyError as error:
        raise BadInput(f"{where} has no {error}; download it again.") from error
    rotary = min(stated.get("rotary_dim", 32), hidden // heads)
    return {
        "vocab_size": rows,
        "hidden_size": hidden,
        "intermediate_size": stated.get("n_inner") or 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": stated.get("n_head_kv") or heads,
        "hidden_act": stated.get("activation_function", "gelu_new"),
        "max_position_embeddings": stated.get("n_positions", 2048),
        "layer_norm_eps": stated.get("layer_norm_epsilon", 1e-5),
        "partial_rotary_factor": rotary / (hidden // heads),
        "tie_word_embeddings": stated.get("tie_word_embeddings", False),
    }
