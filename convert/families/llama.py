"""LLaMA, the language model of LLaVA-1.5 (as Vicuna) and MobileVLM: configuration and names."""

from __future__ import annotations

from collections.abc import Mapping

from imp_deploy.bundle import Mode
from imp_deploy.convert.families.base import (
    Config,
    Dimensions,
    Naming,
    Value,
    gated_dimensions,
    get,
    need_int,
    need_number,
    need_rotary,
    refuse_rope_scaling,
    refuse_unless,
    rope,
)
from imp_deploy.convert.rules import Rule, linear, norm

# Without `pad`, the training code of both crops the centre, which nothing here does.
ASPECTS: dict[str, Mode] = {"pad": "pad"}


def read_config(config: Config, where: str) -> tuple[Dimensions, Mapping[str, Value]]:
    dimensions = gated_dimensions(config, where)
    head = dimensions.hidden // dimensions.heads
    refuse_unless(config, ("attention_bias",), (False,), where)
    refuse_unless(config, ("mlp_bias",), (False,), where)
    refuse_unless(config, ("head_dim",), (head,), where)
    refuse_rope_scaling(config, where)
    epsilon = get(config, ("rms_norm_eps",), 1e-6)
    theta = get(rope(config), ("rope_theta",), 10000.0)
    return dimensions, {
        "context_length": need_int(config, ("max_position_embeddings",), where),
        "attention.layer_norm_rms_epsilon": need_number(epsilon, "rms_norm_eps", where, below=1),
        "rope.dimension_count": need_rotary(head, head, where),
        "rope.freq_base": need_number(theta, "rope_theta", where),
    }


def naming(model: str, head: str, *, projector: str, tower: tuple[str, ...]) -> Naming:
    """The names under the prefix `model`, with the output matrix in `head`."""
    layer = f"{model}.layers.{{i}}"
    attention = f"{layer}.self_attn"
    return Naming(
        marker=f"{model}.layers.0.self_attn.q_proj.weight",
        rules=(
            *linear(f"{model}.embed_tokens", "token_embd", "rows", "hidden", bias=False),
            *norm(f"{layer}.input_layernorm", "blk.{i}.attn_norm", bias=False),
            # transformers rotates the halves of a head, llama.cpp's graph of LLaMA its pairs.
            *linear(
                f"{attention}.q_proj",
                "blk.{i}.attn_q",
                "hidden",
                "hidden",
                bias=False,
                rotary="heads",
            ),
            *linear(
                f"{attention}.k_proj",
                "blk.{i}.attn_k",
                "kv",
                "hidden",
                bias=False,
                rotary="heads_kv",
            ),
            *linear(f"{attention}.v_proj", "blk.{i}.attn_v", "kv", "hidden", bias=False),
            *linear(f"{attention}.o_proj", "blk.{i}.attn_output", "hidden", "hidden", bias=False),
            *norm(f"{layer}.post_attention_layernorm", "blk.{i}.ffn_norm", bias=False),
            *linear(f"{layer}.mlp.gate_proj", "blk.{i}.ffn_gate", "inner", "hidden", bias=False),
            *linear(f"{layer}.mlp.up_proj", "blk.{i}.ffn_up", "inner", "hidden", bias=False),
            *linear(f"{layer}.mlp.down_proj", "blk.{i}.ffn_down", "hidden", "inner", bias=False),
            *norm(f"{model}.norm", "output_norm", bias=False),
            Rule(
                source=f"{head}.weight",
                target="output.weight",
                shape=("rows", "hidden"),
                optional=True,
            ),
        ),
        projector=projector,
        tower=tower,
        ignored=(r".*\.self_attn\.rotary_emb\.inv_freq",),
    )


TRAINING = naming(
    "model",
    "lm_head",
    projector="model.mm_projector",
    tower=("model.vision_tower.vision_tower.vision_model",),
)
