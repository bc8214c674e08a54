"""MobileVLM (arXiv 2312.16886) and MobileVLM V2 (arXiv 2402.03766): MobileLLaMA with CLIP."""

from __future__ import annotations

from imp_deploy.convert.families import llama
from imp_deploy.convert.families.base import Family
from imp_deploy.convert.projectors import LDP, LDP_V2
from imp_deploy.convert.towers.clip import CLIP
from imp_deploy.prompt import VICUNA

FAMILY = Family(
    name="mobilevlm",
    hub_ids=(
        "mtgv/MobileVLM-1.7B",
        "mtgv/MobileVLM-3B",
        "mtgv/MobileVLM_V2-1.7B",
        "mtgv/MobileVLM_V2-3B",
        "mtgv/MobileVLM_V2-7B",
    ),
    architecture="llama",
    model_types=("mobilevlm",),
    architectures=("MobileLlamaForCausalLM",),
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
    projectors=(LDP, LDP_V2),
    aspects=llama.ASPECTS,
)
