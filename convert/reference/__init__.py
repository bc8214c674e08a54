"""Every supported checkpoint in PyTorch and float32: what `verify` compares a bundle with.

It is made of transformers' own SigLIP, CLIP, Phi, Qwen2, Phi-3 and LLaMA modules, and of
MobileVLM's projectors in torch's layers. It reads checkpoints and LoRA folders by itself instead of
with the exporter's modules: a mistake there must not be repeated here.
"""

from imp_deploy.convert.reference.loading import require_torch
from imp_deploy.convert.reference.model import Reference, load_reference
from imp_deploy.convert.reference.pictures import CLIP, SIGLIP, Colours, preprocess

__all__ = [
    "CLIP",
    "SIGLIP",
    "Colours",
    "Reference",
    "load_reference",
    "preprocess",
    "require_torch",
]
