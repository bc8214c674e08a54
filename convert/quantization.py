"""Which type each tensor gets: the rules of the pinned `llama-quantize`, for the types we offer."""

from __future__ import annotations

from dataclasses import dataclass

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

F16, F32 = GGMLQuantizationType.F16, GGMLQuantizationType.F32
Q8_0, Q4_0, Q6_K = (
    GGMLQuantizationType.Q8_0,
    GGMLQuantizationType.Q4_0,
    GGMLQuantizationType.Q6_K,
)


@dataclass(frozen=True)
class Quantization:
    """One row of the table: bits, the type of the matrices, and `general.file_type`."""

    bits: int
    type: GGMLQuantizationType
    file_type: LlamaFileType

    @property
    def name(self) -> str:
        return self.type.name


TABLE = {
    16: Quantization(16, F16, LlamaFileType.MOSTLY_F16),
    8: Quantization(8, Q8_0, LlamaFileType.MOSTLY_Q8_0),
    4: Quantization(4, Q4_0, LlamaFileType.MOSTLY_Q4_0),
}


def _fits(kind: GGMLQuantizationType, columns: int) -> bool:
    return columns % GGML_QUANT_SIZES[kind][0] == 0


def llm_type(
    name: str, shape: tuple[int, ...], quantization: Quantization, tied: bool
) -> GGMLQuantizationType:
    """`shape`: [rows, columns] or [columns]. Vectors stay F32. The output head (or the embedding
    table that serves as one, `tied`) of a 4-bit file is Q6_K, where a row is whole blocks."""
    if len(shape) == 1:
        return F32
    kind, columns = quantization.type, shape[-1]
    if kind == F16:
        return F16
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        if not _fits(kind, columns):
            kind = Q8_0
        elif kind != Q8_0:
            kind = Q6_K
    if kind == Q6_K and not _fits(kind, columns):
        kind = Q8_0
    return kind if _fits(kind, columns) else F16


def vision_type(
    name: str, shape: tuple[int, ...], quantization: Quantization
) -> GGMLQuantizationType:
    """Matrices of the tower's blocks and of the projector get the type, or F16 where their rows
    are not whole blocks (SigLIP's FFN width 4304). The projector's convolution kernels are F16,
    the only type that llama.cpp convolves these with. Vectors, positions and the patch kernel, 1 %
    of the tower, stay F32: libmtmd adds or convolves them with F32 values."""
    projector = name.startswith("mm.")
    if projector and len(shape) > 2:
        return F16
    if len(shape) != 2 or not (projector or name.startswith("v.blk.")):
        return F32
    return quantization.type if _fits(quantization.type, shape[-1]) else F16
