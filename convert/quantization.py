"""Which type each tensor gets: the rules of the pinned `llama-quantize`, for the types we offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

F16, F32 = GGMLQuantizationType.F16, GGMLQuantizationType.F32
Q8_0, Q4_0, Q6_K = (
    GGMLQuantizationType.Q8_0,
    GGMLQuantizationType.Q4_0,
    GGMLQuantizationType.Q6_K,
)


@dataclass(frozen=True)
class Quantization:
    """One row of a table: bits, the type of most matrices, and `general.file_type`."""

    bits: int
    type: GGMLQuantizationType
    file_type: LlamaFileType

    @property
    def name(self) -> str:
        return self.file_type.name.removeprefix("MOSTLY_")

    @property
    def block(self) -> int:
        """Elements; a row of the type is whole blocks."""
        return block_of(self.type)


TABLE = {
    16: Quantization(16, F16, LlamaFileType.MOSTLY_F16),
    8: Quantization(8, Q8_0, LlamaFileType.MOSTLY_Q8_0),
    4: Quantization(4, Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
# The recipes for a language model of 4 bits, by the name that `llama-quantize` knows them by.
FOUR_BIT = {
    q.name: q
    for q in (
        TABLE[4],
        Quantization(4, GGMLQuantizationType.Q4_K, LlamaFileType.MOSTLY_Q4_K_M),
    )
}

# The values' projection, alone or with those of Q and K.
_ATTENTION = ("attn_v.weight", "attn_qkv.weight")
_SMALLER_BLOCKS = {
    GGMLQuantizationType.Q4_K: GGMLQuantizationType.Q5_0,
    GGMLQuantizationType.Q5_K: GGMLQuantizationType.Q5_1,
    Q6_K: Q8_0,
}
# Those that an importance matrix makes better; Q8_0 takes none.
WEIGHTED = frozenset(
    {
        Q6_K,
        GGMLQuantizationType.Q5_K,
        GGMLQuantizationType.Q5_0,
        GGMLQuantizationType.Q5_1,
        GGMLQuantizationType.Q4_K,
        GGMLQuantizationType.Q4_1,
        Q4_0,
    }
)
_NONE: Mapping[str, GGMLQuantizationType] = MappingProxyType({})


def block_of(kind: GGMLQuantizationType) -> int:
    """Elements in a block of the type."""
    return int(GGML_QUANT_SIZES[kind][0])


def fits(kind: GGMLQuantizationType, columns: int) -> bool:
    """Whether a row of so many columns is whole blocks."""
    return columns % block_of(kind) == 0


def llm_types(
    shapes: Mapping[str, tuple[int, ...]],
    quantization: Quantization,
    layers: int,
    *,
    weighted: bool = False,
    chosen: Mapping[str, GGMLQuantizationType] = _NONE,
) -> dict[str, GGMLQuantizationType]:
    """The type of every tensor of a language model's file.

    `shapes` by name, [rows, columns] or [columns], layer by layer. `weighted`: whether there is an
    importance matrix. `chosen`: what somebody wants instead of the recipe (`overrides.py`). Vectors
    stay F32. As `llama_tensor_get_type` in llama.cpp's src/llama-quant.cpp, without what no model
    of ours has (experts, and LLaMA 70B's rule for its 80 layers).
    """
    tied = "output.weight" not in shapes
    # What decides is the number of the tensor among those that nobody has chosen a type for.
    count = {"attention": 0, "ffn_down": 0}
    of = {"attention": sum(n.endswith(_ATTENTION) for n in shapes), "ffn_down": layers}
    types: dict[str, GGMLQuantizationType] = {}
    for name, shape in shapes.items():
        kind = quantization.type
        if len(shape) == 1:
            types[name] = F32
            continue
        if kind == F16:
            types[name] = F16
            continue
        if name in chosen:
            kind = chosen[name]
        elif name == "output.weight" or (tied and name == "token_embd.weight"):
            kind = _head_type(kind, shape[-1])
        elif part := _counted(name):
            kind = _layer_type(quantization, part, count[part], of[part], weighted=weighted)
            count[part] += 1
        types[name] = _fitting(kind, shape[-1])
    return types


def _counted(name: str) -> str | None:
    if name.endswith(_ATTENTION):
        return "attention"
    return "ffn_down" if name.endswith("ffn_down.weight") else None


def _head_type(kind: GGMLQuantizationType, columns: int) -> GGMLQuantizationType:
    """Of the output head, or of the embedding table that serves as one."""
    return Q6_K if kind != Q8_0 and fits(kind, columns) else Q8_0


def _layer_type(
    quantization: Quantization, part: str, i: int, of: int, *, weighted: bool
) -> GGMLQuantizationType:
    """Of the values' projection (alone, or with those of Q and K) or of the FFN's second matrix,
    the `i`th of so many: the mixture gives more bits to the first eighth, to the last, and to every
    third between."""
    if quantization.file_type == LlamaFileType.MOSTLY_Q4_K_M:
        more = i < of // 8 or i >= 7 * of // 8 or (i - of // 8) % 3 == 2
        return Q6_K if more else quantization.type
    if quantization.type == Q4_0 and part == "ffn_down" and weighted and i < of // 8:
        return GGMLQuantizationType.Q4_1
    return quantization.type


def _fitting(kind: GGMLQuantizationType, columns: int) -> GGMLQuantizationType:
    """`kind`, or what takes its place where rows of so many columns are not whole blocks of it."""
    if not fits(kind, columns):
        kind = _SMALLER_BLOCKS.get(kind, kind)
    return kind if fits(kind, columns) else F16


def vision_type(
    name: str, shape: tuple[int, ...], quantization: Quantization
) -> GGMLQuantizationType:
    """Matrices of the tower's blocks and of the projector get the type, or F16 where their rows
    are not whole blocks; `shape` is the one in the file, where the FFN is wide enough for them
    (`Tower.stored_inner`). The projector's convolution kernels are F16, the only type that
    llama.cpp convolves these with. Vectors, positions and the patch kernel, 1 % of the tower, stay
    F32: libmtmd adds or convolves them with F32 values."""
    projector = name.startswith("mm.")
    if projector and len(shape) > 2:
        return F16
    if len(shape) != 2 or not (projector or name.startswith("v.blk.")):
        return F32
    return quantization.type if fits(quantization.type, shape[-1]) else F16
