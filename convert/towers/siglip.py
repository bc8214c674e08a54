"""SigLIP-SO400M/14 (google/siglip-so400m-patch14-384), Imp's tower."""

from __future__ import annotations

from imp_deploy.convert.towers.base import TowerKind, transformer_rules

SIGLIP = TowerKind(
    name="SigLIP",
    model_types=("siglip_vision_model", "siglip"),
    example="google/siglip-so400m-patch14-384",
    published={
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
        "layer_norm_eps": 1e-6,
    },
    activation="gelu_pytorch_tanh",
    class_token=False,
    rules=transformer_rules(patch_bias=True),
    unused=(r"post_layernorm\..*", r"head\..*", r"embeddings\.position_ids"),
    # A whole SigLIP: the text half and the similarity scale are not Imp's.
    unused_apart=(r"text_model\..*", r"logit_scale", r"logit_bias"),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
