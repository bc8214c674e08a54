"""From the tower's features to the language model's embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imp_deploy.convert.reference.loading import fill, refusing

if TYPE_CHECKING:
    from torch import Tensor, nn

    State = dict[str, Tensor]


def build_projector(kind: str, vision: int, hidden: int, state: State, where: str) -> nn.Module:
    """A module [1, patches, vision] -> [1, visual tokens, hidden]. `kind` is mlp2x_gelu (as many
    tokens as patches), ldpnet (a quarter, rounded up in both directions) or ldpnetv2 (144).
    Raises `BadInput`, which lists missing and left-over tensors."""
    import torch
    from torch import nn

    from imp_deploy.convert.reference.ldp import LDP, LDPv2

    with torch.device("meta"):
        made: nn.Module
        if kind == "ldpnet":
            made = LDP(vision, hidden)
        elif kind == "ldpnetv2":
            made = LDPv2(vision, hidden)
        else:
            made = nn.Sequential(nn.Linear(vision, hidden), nn.GELU(), nn.Linear(hidden, hidden))
    with refusing(f"{where}: the projector ({kind})"):
        return fill(made, state)
