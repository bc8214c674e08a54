"""Imp on Qwen1.5: Imp-v1.5-2B."""

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
    refuse_rope_scaling,
    refuse_unless,
    rope,
)
from imp_deploy.convert.families.imp import ASPECTS, RESOLUTIONS
from imp_deploy.convert.projectors import MLP
from imp_deploy.convert.rules import Rule, linear, norm
from imp_deploy.convert.towers.siglip import SIGLIP
from imp_deploy.prompt import CHATML


def read_config(config: Config, where: str) -> tuple[Dimensions, Mapping[str, Value]]:
    dimensions = gated_dimensions(config, where)
    refuse_unless(config, ("use_sliding_window",), (False,), where)
    refuse_rope_scaling(config, where)
    theta = get(rope(config), ("rope_theta",), 10000.0)
    epsilon = get(config, ("rms_norm_eps",), 1e-6)
    return dimensions, {
        "context_length": need_int(config, ("max_position_embeddings",), where),
        "attention.layer_norm_rms_epsilon": need_number(epsilon, "rms_norm_eps", where, below=1),
        "rope.freq_base": need_number(theta, "rope_theta", where),
    }


_TRAINING = Naming(
    marker="model.layers.0.self_attn.q_proj.weight",
    rules=(
        *linear("model.embed_tokens", "token_embd", "rows", "hidden", bias=False),
        *norm("model.layers.{i}.input_layernorm", "blk.{i}.attn_norm", bias=False),
        *linear(
            "model.layers.{i}.self_attn.q_proj", "blk.{i}.attn_q", "hidden", "hidden", bias=True
        ),
        *linear("model.layers.{i}.self_attn.k_proj", "blk.{i}.attn_k", "kv", "hidden", bias=True),
        *linear("model.layers.{i}.self_attn.v_proj", "blk.{i}.attn_v", "kv", "hidden", bias=True),
        *linear(
            "model.layers.{i}.self_attn.o_proj",
            "blk.{i}.attn_output",
            "hidden",
            "hidden",
            bias=False,
        ),
        *norm("model.layers.{i}.post_attention_layernorm", "blk.{i}.ffn_norm", bias=False),
        *linear(
            "model.layers.{i}.mlp.gate_proj", "blk.{i}.ffn_gate", "inner", "hidden", bias=False
        ),
        *linear("model.layers.{i}.mlp.up_proj", "blk.{i}.ffn_up", "inner", "hidden", bias=False),
        *linear(
            "model.layers.{i}.mlp.down_proj", "blk.{i}.ffn_down", "hidden", "inner", bias=False
        ),
        *norm("model.norm", "output_norm", bias=False),
        # Missing where the head shares the embedding table (`tie_word_embeddings`).
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
    name="imp-qwen2",
    hub_ids=("MILVLG/Imp-v1.5-2B-Qwen1.5",),
    architecture="qwen2",
    model_types=("imp_qwen2",),
    architectures=("ImpQwen2ForCausalLM",),
    base_types=("qwen2",),
    base_architectures=("Qwen2ForCausalLM",),
    namings=(_TRAINING,),
    read_config=read_config,
    chat=CHATML,
    tokenizer="bpe",
    pre_tokenizer="qwen2",
    add_bos=False,
    end_tokens=("<|im_end|>", "<|endoftext|>"),
    tower=SIGLIP,
    projectors=(MLP,),
    aspects=ASPECTS,
    resolutions=RESOLUTIONS,
)
