"""The projectors between tower and language model: names, shapes, and what the graphs take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imp_deploy.convert.rules import Rule, linear, norm


@dataclass(frozen=True, kw_only=True)
class Projector:
    """`name`: what `mm_projector_type` of config.json calls it; `clip_type`: what llama.cpp does.

    `rules`: `{p}` stands for the prefix; shapes in terms of `sizes`. `stride`: patches per visual
    token, along each side. `grid`: the only number of patches per side that llama.cpp's graph
    takes.
    """

    name: str
    clip_type: str
    rules: tuple[Rule, ...]
    stride: int = 1
    grid: int | None = None

    def visual_tokens(self, side: int, patch: int) -> int:
        """Of a square picture, with sides in pixels."""
        return (side // patch // self.stride) ** 2


def sizes(vision: int, hidden: int) -> Mapping[str, int]:
    """`vision`: the tower's width; `hidden`: the language model's; `squeezed`: the inner width of
    LDP's squeeze-and-excitation."""
    return {"vision": vision, "hidden": hidden, "squeezed": _divisible_by_8(hidden // 4)}


def _divisible_by_8(width: int) -> int:
    """As MobileNet rounds its widths (torchvision, `_make_divisible`): to the nearest multiple, but
    not down by more than a tenth."""
    rounded = max(8, (width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def _matrix(source: str, target: str, out: str, into: str, *, bias: bool) -> tuple[Rule, ...]:
    """A 1x1 convolution, which llama.cpp multiplies as the matrix that it is."""
    weight = Rule(
        source=f"{source}.weight",
        target=f"{target}.weight",
        shape=(out, into, "1", "1"),
        stored=(out, into),
    )
    if not bias:
        return (weight,)
    return (weight, Rule(source=f"{source}.bias", target=f"{target}.bias", shape=(out,)))


def _depthwise(source: str, target: str) -> Rule:
    """The kernels of a 3x3 convolution of each channel by itself."""
    return Rule(
        source=f"{source}.weight",
        target=f"{target}.weight",
        shape=("hidden", "1", "3", "3"),
        stored=("hidden", "3", "3"),
    )


def _mobile_block(number: int) -> tuple[Rule, ...]:
    """MobileNetV3's inverted residual: depthwise convolution, squeeze-and-excitation, pointwise."""
    source, target = f"{{p}}.model.mb_block.{number}.block", f"mm.model.mb_block.{number}.block"
    return (
        _depthwise(f"{source}.0.0", f"{target}.0.0"),
        *norm(f"{source}.0.1", f"{target}.0.1", bias=True),
        *_matrix(f"{source}.1.fc1", f"{target}.1.fc1", "squeezed", "hidden", bias=True),
        *_matrix(f"{source}.1.fc2", f"{target}.1.fc2", "hidden", "squeezed", bias=True),
        *_matrix(f"{source}.2.0", f"{target}.2.0", "hidden", "hidden", bias=False),
        *norm(f"{source}.2.1", f"{target}.2.1", bias=True),
    )


def _two_layers(name: str, first: str, second: str) -> Projector:
    return Projector(
        name=name,
        clip_type="mlp",
        rules=(
            *linear(f"{{p}}.{first}", "mm.0", "hidden", "vision", bias=True),
            *linear(f"{{p}}.{second}", "mm.2", "hidden", "hidden", bias=True),
        ),
    )


MLP = _two_layers("mlp2x_gelu", "0", "2")
# The same under the names of transformers' LLaVA.
MLP_HF = _two_layers("mlp2x_gelu", "linear_1", "linear_2")
# Lightweight Downsample Projector: MobileVLM (arXiv 2312.16886), section 3.4.
LDP = Projector(
    name="ldpnet",
    clip_type="ldp",
    rules=(
        *linear("{p}.model.mlp.1", "mm.model.mlp.1", "hidden", "vision", bias=True),
        *linear("{p}.model.mlp.3", "mm.model.mlp.3", "hidden", "hidden", bias=True),
        *_mobile_block(1),
        *_mobile_block(2),
    ),
    stride=2,
    grid=24,
)
# MobileVLM V2 (arXiv 2402.03766), section 3.3.
LDP_V2 = Projector(
    name="ldpnetv2",
    clip_type="ldpv2",
    rules=(
        *linear("{p}.mlp.mlp.0", "mm.model.mlp.0", "hidden", "vision", bias=True),
        *linear("{p}.mlp.mlp.2", "mm.model.mlp.2", "hidden", "hidden", bias=True),
        _depthwise("{p}.peg.peg.0", "mm.model.peg.0"),
        Rule(source="{p}.peg.peg.0.bias", target="mm.model.peg.0.bias", shape=("hidden",)),
    ),
    stride=2,
    grid=24,
)
