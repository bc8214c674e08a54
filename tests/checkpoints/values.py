"""What every part of a random checkpoint is made of: its sizes, and its random values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

Family = Literal["phi2", "qwen2", "phi3", "mobilevlm", "mobilevlm2", "llava"]
Llm = Literal["phi2", "qwen2", "phi3", "llama"]
Naming = Literal["hub", "train", "hf", "hf4", "hf5", "hf5-saved"]
Weights = Literal["safetensors", "bin"]
Dtype = Literal["f16", "bf16", "f32"]
Tower = Literal["all", "used", "separate"]

TORCH_DTYPE = {"f16": "float16", "bf16": "bfloat16", "f32": "float32"}
LLM: dict[Family, Llm] = {
    "phi2": "phi2",
    "qwen2": "qwen2",
    "phi3": "phi3",
    "mobilevlm": "llama",
    "mobilevlm2": "llama",
    "llava": "llama",
}


@dataclass(frozen=True)
class Sizes:
    """Small, but as awkward as the real ones.

    The vision widths are no multiples of 256, its FFN is none of 32 (the real one is 4304), and the
    rotary part is neither the whole head nor transformers' default half.
    """

    hidden: int = 256
    layers: int = 2
    heads: int = 4
    kv_heads: int | None = None  # fewer than heads: grouped queries (not for phi2)
    inner: int = 512
    rotary: int = 24  # of a head of 64; phi2 only
    vision_hidden: int = 64
    vision_inner: int = 100
    vision_layers: int = 3  # of which the last is not used
    vision_heads: int = 4
    patch: int = 14


def is_clip(family: Family) -> bool:
    """Whether the family's tower is CLIP's; Imp's is SigLIP."""
    return LLM[family] == "llama"


def check_naming(family: Family, naming: Naming) -> None:
    if (naming == "hub" and family != "phi2") or (naming.startswith("hf") and family != "llava"):
        raise ValueError(f"{family} has no {naming} naming")


class Random:
    """Random tensors, each drawn for itself: a change in one leaves the others alone."""

    def __init__(self, seed: int, path: str = "") -> None:
        self.seed, self.path = seed, path

    def fork(self, name: str) -> Random:
        return Random(self.seed, f"{self.path}/{name}")

    def normal(self, name: str, *shape: int, std: float = 1.0, mean: float = 0.0) -> Tensor:
        """Normal values, rounded so that BF16 and F16 both hold them."""
        import hashlib

        import torch

        text = f"{self.seed}{self.path}/{name}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        generator = torch.Generator().manual_seed(number)
        return rounded(torch.randn(*shape, generator=generator) * std + mean)

    def linear(
        self, name: str, outputs: int, inputs: int, *, gain: float = 1.0, bias: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """A weight that makes unit inputs outputs of standard deviation `gain`, and a bias."""
        weight = self.normal(f"{name}.weight", outputs, inputs, std=gain / math.sqrt(inputs))
        yield f"{name}.weight", weight
        if bias:
            yield f"{name}.bias", self.normal(f"{name}.bias", outputs, std=0.2)

    def norm(self, name: str, width: int, *, bias: bool) -> Iterator[tuple[str, Tensor]]:
        yield f"{name}.weight", self.normal(f"{name}.weight", width, std=0.2, mean=1.0)
        if bias:
            yield f"{name}.bias", self.normal(f"{name}.bias", width, std=0.2)


def rounded(values: Tensor) -> Tensor:
    """Values that BF16 and F16 both hold, as float32."""
    return values.bfloat16().half().float()
