"""CLIP ViT-L/14 (openai/clip-vit-large-patch14-336), the tower of LLaVA-1.5 and MobileVLM."""

from __future__ import annotations

from imp_deploy.convert.rules import Rule, norm
from imp_deploy.convert.towers.base import TowerKind, transformer_rules

CLIP = TowerKind(
    name="CLIP",
    model_types=("clip_vision_model", "clip"),
    example="openai/clip-vit-large-patch14-336",
    published={
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
        "layer_norm_eps": 1e-5,
    },
    activation="quick_gelu",
    class_token=True,
    rules=(
        Rule(source="{p}embeddings.class_embedding", target="v.class_embd", shape=("hidden",)),
        *norm("{p}pre_layrnorm", "v.pre_ln", bias=True),  # transformers' spelling
        *transformer_rules(patch_bias=False),
    ),
    unused=(r"post_layernorm\..*", r"embeddings\.position_ids"),
    unused_apart=(
        r"text_model\..*",
        r"(text|visual)_projection\.weight",
        r"logit_scale",
    ),
    # https://github.com/openai/CLIP, clip/clip.py
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
