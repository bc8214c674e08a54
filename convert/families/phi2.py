"""Imp on Phi-2: Imp-v1-3B, Imp-v1.5-3B and its 196-pixel sister."""

from __future__ import annotations

from collections.abc import Mapping

from imp_deploy.convert.families.base import (
    Config,
    Dimensions,
    Family,
    Naming,
    Value,
    get,
    heads_divide,
    need_int,
    need_layers,
    need_number,
    need_rotary,
    refuse_rope_scaling,
    refuse_unless,
    rope,
)
from imp_deploy.convert.families.imp import ASPECTS, RESOLUTIONS
from imp_deploy.convert.projectors import MLP
from imp_deploy.convert.rules import linear, norm
from imp_deploy.convert.towers.siglip import SIGLIP
from imp_deploy.prompt import VICUNA_PHI2


def read_config(config: Config, where: str) -> tuple[Dimensions, Mapping[str, Value]]:
    hidden = need_int(config, ("n_embd", "hidden_size"), where)
    heads = need_int(config, ("n_head", "num_attention_heads"), where)
    dimensions = Dimensions(
        hidden=hidden,
        inner=need_int(config, ("n_inner", "intermediate_size"), where, 4 * hidden),
        layers=need_layers(config, ("n_layer", "num_hidden_layers"), where),
        heads=heads,
        heads_kv=need_int(config, ("n_head_kv", "num_key_value_heads"), where, heads),
        rows=_rows(config, where),
    )
    refuse_unless(
        config,
        ("activation_function", "hidden_act"),
        ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"),
        where,
    )
    refuse_unless(config, ("qk_layernorm",), (False,), where)
    refuse_rope_scaling(config, where)
    head = heads_divide(dimensions, where).hidden // heads
    rotary = config.get("rotary_dim")
    if rotary is None:
        # 0.5 is the default of transformers' PhiConfig; Phi-2's own config says 0.4.
        share = need_number(
            get(rope(config), ("partial_rotary_factor",), 0.5), "partial_rotary_factor", where
        )
        rotary = int(share * head)
    epsilon = get(config, ("layer_norm_epsilon", "layer_norm_eps"), 1e-5)
    theta = get(rope(config), ("rope_theta",), 10000.0)
    return dimensions, {
        "context_length": need_int(config, ("n_positions", "max_position_embeddings"), where),
        "attention.layer_norm_epsilon": need_number(epsilon, "layer_norm_epsilon", where, below=1),
        "rope.dimension_count": need_rotary(rotary, head, where),
        "rope.freq_base": need_number(theta, "rope_theta", where),
    }


def _rows(config: Config, where: str) -> int:
    """The old Phi code, which the hub's configs are of, rounds its table up to whole 64 rows."""
    size = need_int(config, ("vocab_size",), where)
    return -(-size // 64) * 64 if "n_embd" in config else size


_HUB = Naming(
    marker="transformer.embd.wte.weight",
    rules=(
        *linear("transformer.embd.wte", "token_embd", "rows", "hidden", bias=False),
        *norm("transformer.h.{i}.ln", "blk.{i}.attn_norm", bias=True),
        *linear(
            "transformer.h.{i}.mixer.Wqkv", "blk.{i}.attn_qkv", "hidden+kv+kv", "hidden", bias=True
        ),
        *linear(
            "transformer.h.{i}.mixer.out_proj", "blk.{i}.attn_output", "hidden", "hidden", bias=True
        ),
        *linear("transformer.h.{i}.mlp.fc1", "blk.{i}.ffn_up", "inner", "hidden", bias=True),
        *linear("transformer.h.{i}.mlp.fc2", "blk.{i}.ffn_down", "hidden", "inner", bias=True),
        *norm("lm_head.ln", "output_norm", bias=True),
        *linear("lm_head.linear", "output", "rows", "hidden", bias=True),
    ),
    projector="transformer.mm_projector",
    tower=("transformer.vision_tower.vision_tower.vision_model",),
    ignored=(r"transformer\.h\.\d+\.mixer\.rotary_emb\.inv_freq",),
)
_TRAINING = Naming(
    marker="model.layers.0.self_attn.dense.weight",
    rules=(
        *linear("model.embed_tokens", "token_embd", "rows", "hidden", bias=False),
        *norm("model.layers.{i}.input_layernorm", "blk.{i}.attn_norm", bias=True),
        *linear(
            "model.layers.{i}.self_attn.q_proj", "blk.{i}.attn_q", "hidden", "hidden", bias=True
        ),
        *linear("model.layers.{i}.self_attn.k_proj", "blk.{i}.attn_k", "kv", "hidden", bias=True),
        *linear("model.layers.{i}.self_attn.v_proj", "blk.{i}.attn_v", "kv", "hidden", bias=True),
        *linear(
            "model.layers.{i}.self_attn.dense", "blk.{i}.attn_output", "hidden", "hidden", bias=True
        ),
        *linear("model.layers.{i}.mlp.fc1", "blk.{i}.ffn_up", "inner", "hidden", bias=True),
        *linear("model.layers.{i}.mlp.fc2", "blk.{i}.ffn_down", "hidden", "inner", bias=True),
        *norm("model.final_layernorm", "output_norm", bias=True),
        *linear("lm_head", "output", "rows", "hidden", bias=True),
    ),
    projector="model.mm_projector",
    tower=("model.vision_tower.vision_tower.vision_model",),
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
)

FAMILY = Family(
    name="imp-phi2",
    hub_ids=("MILVLG/imp-v1-3b", "MILVLG/Imp-v1.5-3B-Phi2", "MILVLG/Imp-v1.5-3B-196"),
    architecture="phi2",
    model_types=("imp",),
    architectures=("ImpForCausalLM",),
    base_types=("phi", "phi-msft"),
    base_architectures=("PhiForCausalLM",),
    namings=(_HUB, _TRAINING),
    read_config=read_config,
    chat=VICUNA_PHI2,
    tokenizer="bpe",
    pre_tokenizer="phi-2",
    add_bos=False,
    end_tokens=("<|endoftext|>",),
    tower=SIGLIP,
    projectors=(MLP,),
    aspects=ASPECTS,
    resolutions=RESOLUTIONS,
)
