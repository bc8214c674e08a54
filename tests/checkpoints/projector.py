"""The weights of the projectors: two linear layers, LDP and LDPv2."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.checkpoints.values import Family, Random, Sizes, is_clip

if TYPE_CHECKING:
    from torch import Tensor

    from tests.checkpoints.values import State

TYPE: dict[Family, str] = {"mobilevlm": "ldpnet", "mobilevlm2": "ldpnetv2"}
MLP = "mlp2x_gelu"  # the type of the other families


def projector(family: Family, sizes: Sizes, rng: Random) -> State:
    """The tensors behind `mm_projector.`."""
    if family == "mobilevlm":
        return dict(_ldp(sizes, rng.fork("ldp")))
    if family == "mobilevlm2":
        return dict(_ldpv2(sizes, rng.fork("ldpv2")))
    first = 0.4 if is_clip(family) else 0.7
    return dict(_linear_pair("", "0", "2", sizes, rng.fork("projector"), first))


def squeezed(channels: int) -> int:
    """Channels between the two layers of a squeeze-excitation: a quarter, to the nearest multiple
    of 8, but not less than 90 % of it (the MobileNet papers' rule)."""
    quarter = channels // 4
    near = max(8, (quarter + 4) // 8 * 8)
    return near + 8 if near < 0.9 * quarter else near


def _linear_pair(
    room: str, first: str, second: str, sizes: Sizes, rng: Random, gain: float = 0.4
) -> Iterator[tuple[str, Tensor]]:
    """`gain` is small because a tower's features, which no norm follows, are large."""
    yield from rng.linear(f"{room}{first}", sizes.hidden, sizes.vision_hidden, gain=gain)
    yield from rng.linear(f"{room}{second}", sizes.hidden, sizes.hidden, gain=1.5)


def _ldp(sizes: Sizes, rng: Random) -> Iterator[tuple[str, Tensor]]:
    wide, few = sizes.hidden, squeezed(sizes.hidden)
    yield from _linear_pair("model.mlp.", "1", "3", sizes, rng)
    for i in (1, 2):
        block = f"model.mb_block.{i}.block"
        yield from _depthwise(f"{block}.0.0", wide, rng, bias=False)
        yield from rng.norm(f"{block}.0.1", wide, bias=True)
        for name, outputs, inputs in (("1.fc1", few, wide), ("1.fc2", wide, few)):
            yield from _pointwise(f"{block}.{name}", outputs, inputs, rng, gain=1.5, bias=True)
        yield from _pointwise(f"{block}.2.0", wide, wide, rng, gain=2.0, bias=False)
        yield from rng.norm(f"{block}.2.1", wide, bias=True)


def _ldpv2(sizes: Sizes, rng: Random) -> Iterator[tuple[str, Tensor]]:
    yield from _linear_pair("mlp.mlp.", "0", "2", sizes, rng)
    yield from _depthwise("peg.peg.0", sizes.hidden, rng, bias=True)


def _depthwise(
    name: str, channels: int, rng: Random, *, bias: bool
) -> Iterator[tuple[str, Tensor]]:
    """A 3 x 3 convolution of each channel for itself: [channels, 1, 3, 3]."""
    weight = rng.normal(f"{name}.weight", channels, 1, 3, 3, std=1.5 / 3)
    yield f"{name}.weight", weight
    if bias:
        yield f"{name}.bias", rng.normal(f"{name}.bias", channels, std=0.2)


def _pointwise(
    name: str, outputs: int, inputs: int, rng: Random, *, gain: float, bias: bool
) -> Iterator[tuple[str, Tensor]]:
    """A 1 x 1 convolution: [outputs, inputs, 1, 1]."""
    std = gain / math.sqrt(inputs)
    yield f"{name}.weight", rng.normal(f"{name}.weight", outputs, inputs, 1, 1, std=std)
    if bias:
        yield f"{name}.bias", rng.normal(f"{name}.bias", outputs, std=0.2)
