"""LLaVA-1.5 (arXiv 2310.03744), as its authors published it and as transformers has it."""

from __future__ import annotations

import dataclasses

from imp_deploy.convert.families import llama
from imp_deploy.convert.families.base import Config, Family, short
from imp_deploy.convert.projectors import MLP, MLP_HF
from imp_deploy.convert.towers.clip import CLIP
from imp_deploy.errors import BadInput
from imp_deploy.prompt import VICUNA

# What transformers' LlamaConfig leaves out of a file, because it is its default.
_LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
}
# The same of its CLIPVisionConfig.
_CLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
}
# What `vision_feature_select_strategy` is called in the authors' files.
_FEATURES = {"default": "patch", "full": "cls_patch"}


def flatten(config: Config, where: str) -> Config:
    """transformers' nested configuration in the authors' terms."""
    text = _part(config, "text_config", where)
    vision = _part(config, "vision_config", where) or CLIP.published
    kind = (text.get("model_type", "llama"), vision.get("model_type", "clip_vision_model"))
    if kind != ("llama", "clip_vision_model"):
        raise BadInput(
            f"{where} is of a LLaVA with {short(kind[0])} and {short(kind[1])}; export LLaVA-1.5, "
            "which has LLaMA and CLIP."
        )
    activation = config.get("projector_hidden_act", "gelu")
    strategy = config.get("vision_feature_select_strategy", "default")
    return {
        **_LLAMA,
        **text,
        "tie_word_embeddings": True in (c.get("tie_word_embeddings") for c in (config, text)),
        "image_aspect_ratio": "pad",  # as LLaVA-1.5 was trained; transformers' processor crops
        "mm_projector_type": "mlp2x_gelu" if activation == "gelu" else f"mlp2x_{activation}",
        "mm_vision_select_layer": config.get("vision_feature_layer", -2),
        "mm_vision_select_feature": _FEATURES.get(str(strategy), strategy),
        "vision_tower_config": {**_CLIP, **vision},
    }


def _part(config: Config, key: str, where: str) -> Config:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise BadInput(
            f"{where}: {key} is {short(value)} and must be an object; download config.json again."
        )
    return {k: v for k, v in value.items() if v is not None}


FAMILY = Family(
    name="llava",
    hub_ids=("liuhaotian/llava-v1.5-7b", "liuhaotian/llava-v1.5-13b"),
    architecture="llama",
    model_types=("llava_llama", "llava"),
    architectures=("LlavaLlamaForCausalLM",),
    base_types=("llama",),
    base_architectures=("LlamaForCausalLM",),
    namings=(llama.TRAINING,),
    read_config=llama.read_config,
    chat=VICUNA,
    tokenizer="spm",
    pre_tokenizer="default",
    add_bos=True,
    end_tokens=("</s>",),
    tower=CLIP,
    projectors=(MLP,),
    aspects=llama.ASPECTS,
)

HF = dataclasses.replace(
    FAMILY,
    name="llava-hf",
    hub_ids=("llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-13b-hf"),
    model_types=("llava",),
    architectures=("LlavaForConditionalGeneration",),
    namings=(
        llama.naming(
            "language_model.model",
            "language_model.lm_head",
            projector="multi_modal_projector",
            tower=("vision_tower.vision_model", "vision_tower"),
        ),
        # transformers' modules since 4.52.
        llama.naming(
            "model.language_model",
            "lm_head",
            projector="model.multi_modal_projector",
            tower=("model.vision_tower.vision_model", "model.vision_tower"),
        ),
    ),
    projectors=(MLP_HF,),
    settings=flatten,
)
