"""Imp on Phi-3-mini: Imp-v1.5-4B."""

from __future__ import annotations

from collections.abc import Mapping

from imp_deploy.convert.families.base import (
    Config,
    Dimensions,
    Family,
    Naming,
    Value,
    gated_dimensions,
    get,
    need_int,
    need_number,
    need_rotary,
    refuse_rope_scaling,
    rope,
)
from imp_deploy.convert.families.imp import ASPECTS, RESOLUTIONS
from imp_deploy.convert.projectors import MLP
from imp_deploy.convert.rules import Rule, linear, norm
from imp_deploy.convert.towers.siglip import SIGLIP
from imp_deploy.prompt import PHI3


def read_config(config: Config, where: str) -> tuple[Dimensions, Mapping[str, Value]]:
    dimensions = gated_dimensions(config, where)
    head = dimensions.hidden // dimensions.heads
    refuse_rope_scaling(config, where)
    share = need_number(
        get(rope(config), ("partial_rotary_factor",), 1.0), "partial_rotary_factor", where
    )
    context = need_int(config, ("max_position_embeddings",), where)
    window = get(config, ("sliding_window",), 0)
    if window != 0:
        window = need_int(config, ("sliding_window",), where)
    theta = get(rope(config), ("rope_theta",), 10000.0)
    epsilon = get(config, ("rms_norm_eps",), 1e-5)
    return dimensions, {
        "context_length": context,
        "rope.scaling.original_context_length": need_int(
            config, ("original_max_position_embeddings",), where, context
        ),
        "attention.layer_norm_rms_epsilon": need_number(epsilon, "rms_norm_eps", where, below=1),
        "rope.dimension_count": need_rotary(int(share * head), head, where),
        "rope.freq_base": need_number(theta, "rope_theta", where),
        # llama.cpp reads it and computes full attention, as it does for upstream's own Phi-3.
        "attention.sliding_window": window,
    }


_TRAINING = Naming(
    marker="model.layers.0.self_attn.qkv_proj.weight",
    rules=(
        *linear("model.embed_tokens", "token_embd", "rows", "hidden", bias=False),
        *norm("model.layers.{i}.input_layernorm", "blk.{i}.attn_norm", bias=False),
        *linear(
            "model.layers.{i}.self_attn.qkv_proj",
            "blk.{i}.attn_qkv",
            "hidden+kv+kv",
            "hidden",
            bias=False,
        ),
        *linear(
            "model.layers.{i}.self_attn.o_proj",
            "blk.{i}.attn_output",
            "hidden",
            "hidden",
            bias=False,
        ),
        *norm("model.layers.{i}.post_attention_layernorm", "blk.{i}.ffn_norm", bias=False),
        # Rows are gate, then up: the order that llama.cpp's phi3 graph expects in `ffn_up`.
        *linear(
            "model.layers.{i}.mlp.gate_up_proj",
            "blk.{i}.ffn_up",
            "inner+inner",
            "hidden",
            bias=False,
        ),
        *linear(
            "model.layers.{i}.mlp.down_proj", "blk.{i}.ffn_down", "hidden", "inner", bias=False
        ),
        *norm("model.norm", "output_norm", bias=False),
        Rule(
            source="lm_head.weight",
            target="output.weight",
            shape=("rows", "hidden"),
            optional=True,
        ),
    ),
    projector="model.mm_projector",
    tower=("model.vision_tower.vision_tower.vision_model",),
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
)

FAMILY = Family(
    name="imp-phi3",
    hub_ids=("MILVLG/Imp-v1.5-4B-Phi3",),
    architecture="phi3",
    model_types=("imp_phi3",),
    architectures=("ImpPhi3ForCausalLM",),
    base_types=("phi3",),
    base_architectures=("Phi3ForCausalLM",),
    namings=(_TRAINING,),
    read_config=read_config,
    chat=PHI3,
    tokenizer="spm",
    pre_tokenizer="default",
    add_bos=True,
    end_tokens=("<|end|>", "<|endoftext|>"),
    tower=SIGLIP,
    projectors=(MLP,),
    aspects=ASPECTS,
    resolutions=RESOLUTIONS,
    # Phi-3's chat tokens swallow the white space behind them. llama.cpp does the same only where
    # `general.name` contains "phi-3"; without it the same prompt has other token ids.
    name_suffix=" (Phi-3)",
)
