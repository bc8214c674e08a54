"""config.json of every layout."""

from __future__ import annotations

from typing import Any

from tests.checkpoints.projector import MLP, TYPE
from tests.checkpoints.values import LLM, TORCH_DTYPE, Dtype, Family, Llm, Naming, Sizes, is_clip
from tests.checkpoints.vision import clip_config

MODEL_TYPE: dict[Family, str] = {
    "phi2": "imp",
    "qwen2": "imp_qwen2",
    "phi3": "imp_phi3",
    "mobilevlm": "mobilevlm",
    "mobilevlm2": "mobilevlm",
    "llava": "llava_llama",
}
ARCHITECTURE: dict[Family, str] = {
    "phi2": "ImpForCausalLM",
    "qwen2": "ImpQwen2ForCausalLM",
    "phi3": "ImpPhi3ForCausalLM",
    "mobilevlm": "MobileLlamaForCausalLM",
    "mobilevlm2": "MobileLlamaForCausalLM",
    "llava": "LlavaLlamaForCausalLM",
}
CONTEXT = 2048
# What LlamaConfig and CLIPVisionConfig of transformers have where a config says nothing.
LLAMA_DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "attention_dropout": 0.0,
    "attention_bias": False,
    "pretraining_tp": 1,
}
CLIP_DEFAULTS = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


def whole_config(
    family: Family,
    naming: Naming,
    sizes: Sizes,
    rows: int,
    dtype: Dtype,
    *,
    eos: int,
    image: int | None,
    aspect: str,
) -> dict[str, Any]:
    """A multimodal checkpoint's, without the tower's own configuration, in the hub's or the
    training naming. `image` is the id of `<image>`."""
    config = hub_config(sizes) if naming == "hub" else train_config(LLM[family], sizes)
    config |= {
        "model_type": MODEL_TYPE[family],
        "architectures": [ARCHITECTURE[family]],
        "vocab_size": rows,
        "tie_word_embeddings": False,
        "torch_dtype": TORCH_DTYPE[dtype],
        "use_cache": True,
        **token_ids(LLM[family], eos),
        "image_aspect_ratio": aspect,
        "mm_hidden_size": sizes.vision_hidden,
        "mm_projector_type": TYPE.get(family, MLP),
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
    }
    if is_clip(family):
        config |= {
            "mm_vision_tower": "openai/clip-vit-large-patch14-336",
            "mm_use_im_start_end": False,
            "mm_use_im_patch_token": False,
            "use_mm_proj": True,
        }
        if family != "llava":
            config["vision_tower_type"] = "clip"
    if image is not None:
        config |= {"image_token": "<image>", "image_token_index": image}
    return config


def hf_config(
    naming: Naming, sizes: Sizes, image_size: int, rows: int, dtype: Dtype, *, image: int
) -> dict[str, Any]:
    """LLaVA's in transformers' layout. The hub's files leave out what equals the defaults of
    LlamaConfig and CLIPVisionConfig; transformers 5 writes all, and the rope in a table."""
    text = train_config("llama", sizes) | {"vocab_size": rows}
    vision = clip_config(sizes, image_size)
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": image,
        "projector_hidden_act": "gelu",
        "tie_word_embeddings": False,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    }
    if naming in ("hf", "hf4"):
        if text["num_key_value_heads"] == text["num_attention_heads"]:
            del text["num_key_value_heads"]
        return config | {
            "ignore_index": -100,
            "pad_token_id": image + 1,
            "vocab_size": rows,
            "text_config": {"model_type": "llama", **_differing(text, LLAMA_DEFAULTS)},
            "vision_config": _differing(vision, CLIP_DEFAULTS),
            "torch_dtype": TORCH_DTYPE[dtype],
        }
    theta = text.pop("rope_theta")
    del text["rope_scaling"]
    text |= {
        "model_type": "llama",
        "head_dim": sizes.hidden // sizes.heads,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
        **token_ids("llama", 2),
    }
    return config | {
        "dtype": TORCH_DTYPE[dtype],
        "image_seq_length": (image_size // sizes.patch) ** 2,
        "multimodal_projector_bias": True,
        "text_config": text,
        "vision_config": vision,
    }


def stray_keys(sizes: Sizes) -> dict[str, Any]:
    """Keys of another library, as in some MobileVLM V2 configs: they contradict the right ones."""
    return {
        "bias": False,
        "block_size": CONTEXT * 2,
        "head_size": 8,
        "n_embd": sizes.hidden * 2,
        "n_head": sizes.heads // 2,
        "n_layer": sizes.layers + 1,
        "n_query_groups": 1,
        "norm_eps": 0.1,
        "padded_vocab_size": 64,
        "rotary_percentage": 0.25,
    }


def token_ids(llm: Llm, eos: int) -> dict[str, int]:
    if llm == "llama":
        return {"bos_token_id": 1, "eos_token_id": eos, "pad_token_id": 0}
    return {"bos_token_id": 1 if llm == "phi3" else eos, "eos_token_id": eos, "pad_token_id": eos}


def hub_config(sizes: Sizes) -> dict[str, Any]:
    """The old Phi's keys; `n_inner` null stands for four times the hidden size."""
    return {
        "n_embd": sizes.hidden,
        "n_layer": sizes.layers,
        "n_head": sizes.heads,
        "n_head_kv": None,
        "n_inner": None if sizes.inner == 4 * sizes.hidden else sizes.inner,
        "rotary_dim": sizes.rotary,
        "n_positions": CONTEXT,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "pad_vocab_size_multiple": 64,
        "flash_attn": False,
        "fused_dense": False,
    }


def train_config(llm: Llm, sizes: Sizes) -> dict[str, Any]:
    shared = {
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.inner,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads or sizes.heads,
        "max_position_embeddings": CONTEXT,
        "rope_scaling": None,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
    }
    if llm == "phi2":
        return shared | {
            "hidden_act": "gelu_new",
            "layer_norm_eps": 1e-5,
            "partial_rotary_factor": sizes.rotary / (sizes.hidden // sizes.heads),
            "rope_theta": 10000.0,
            "qk_layernorm": False,
        }
    if llm == "qwen2":
        return shared | {
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "use_sliding_window": False,
            "sliding_window": 32768,
            "max_window_layers": 21,
        }
    if llm == "llama":
        return shared | {
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "attention_bias": False,
            "pretraining_tp": 1,
        }
    return shared | {
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "original_max_position_embeddings": CONTEXT,
        "sliding_window": 2047,
    }


def _differing(config: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in defaults or defaults[k] != v}
