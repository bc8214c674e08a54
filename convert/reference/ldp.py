"""MobileVLM's lightweight downsample projectors: LDP of version 1 and LDPv2 (arXiv 2312.16886 and
2402.03766). Modules are named so that the checkpoints' tensors load by name.

Imports torch, so only functions that need it import this.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

_SQUEEZE = 4  # of MobileNetV3's squeeze-and-excitation, in torchvision's building block
_MULTIPLE = 8
_GRID = 12  # both projectors make 12 x 12 tokens of CLIP's 24 x 24 at 336 pixels


class LDP(nn.Module):
    """Two linear layers, then two inverted residuals of MobileNetV3 without expansion, the second
    of stride 2: [1, n * n, vision] -> [1, ceil(n / 2) ** 2, hidden]."""

    def __init__(self, vision: int, hidden: int) -> None:
        super().__init__()
        # The checkpoints' numbers start at 1: an identity was first.
        mlp = {"1": nn.Linear(vision, hidden), "2": nn.GELU(), "3": nn.Linear(hidden, hidden)}
        blocks = {"1": _Block(hidden, 1), "2": _Block(hidden, 2)}
        self.model = nn.ModuleDict({"mlp": nn.ModuleDict(mlp), "mb_block": nn.ModuleDict(blocks)})

    def forward(self, features: Tensor) -> Tensor:
        for layer in _children(self.model["mlp"]):
            features = layer(features)
        grid = to_grid(features)
        for block in _children(self.model["mb_block"]):
            grid = block(grid)
        return from_grid(grid)


class LDPv2(nn.Module):
    """Two linear layers, average pooling to 12 x 12, and a depthwise convolution added to its
    input, which tells neighbours their positions: [1, n * n, vision] -> [1, 144, hidden]."""

    def __init__(self, vision: int, hidden: int) -> None:
        super().__init__()
        layers = nn.Sequential(nn.Linear(vision, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.mlp = nn.ModuleDict({"mlp": layers})
        self.peg = nn.ModuleDict({"peg": nn.Sequential(depthwise)})

    def forward(self, features: Tensor) -> Tensor:
        grid = to_grid(self.mlp["mlp"](features))
        grid = functional.adaptive_avg_pool2d(grid, _GRID)
        return from_grid(self.peg["peg"](grid) + grid)


class _Block(nn.Module):
    """Depthwise 3 x 3, squeeze-and-excitation, pointwise; with stride 1 added to its input."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.adds = stride == 1
        depthwise = nn.Conv2d(
            channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False
        )
        pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.block = nn.Sequential(
            nn.Sequential(depthwise, _ChannelNorm(channels), nn.Hardswish()),
            _SqueezeExcitation(channels),
            nn.Sequential(pointwise, _ChannelNorm(channels)),
        )

    def forward(self, grid: Tensor) -> Tensor:
        changed: Tensor = self.block(grid)
        return changed + grid if self.adds else changed


class _ChannelNorm(nn.LayerNorm):
    """Layer norm (eps 1e-5) over the channels of [batch, channels, rows, columns]."""

    def forward(self, grid: Tensor) -> Tensor:
        return super().forward(grid.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _SqueezeExcitation(nn.Module):
    """Scales each channel by what the means of all channels say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = squeezed_width(channels)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, grid: Tensor) -> Tensor:
        means = grid.mean(dim=(2, 3), keepdim=True)
        return grid * functional.hardsigmoid(self.fc2(functional.relu(self.fc1(means))))


def squeezed_width(channels: int) -> int:
    """A quarter, rounded to a multiple of 8, up where rounding down would lose over a tenth."""
    quarter = channels // _SQUEEZE
    nearest = max(_MULTIPLE, (quarter + _MULTIPLE // 2) // _MULTIPLE * _MULTIPLE)
    return nearest + _MULTIPLE if nearest < 0.9 * quarter else nearest


def to_grid(features: Tensor) -> Tensor:
    """[batch, n * n, channels] row by row -> [batch, channels, n, n]."""
    batch, patches, channels = features.shape
    n = math.isqrt(patches)
    return features.transpose(1, 2).reshape(batch, channels, n, n)


def from_grid(grid: Tensor) -> Tensor:
    return grid.flatten(2).transpose(1, 2)


def _children(module: nn.Module) -> list[nn.Module]:
    return list(module.children())
