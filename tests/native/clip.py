"""Small random CLIP towers with the projectors of LLaVA-1.5, MobileVLM and MobileVLM V2, in PyTorch
and as an mmproj for the runner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from imp_deploy.convert.reference.ldp import LDP, LDPv2

# OpenAI's CLIP: https://github.com/openai/CLIP, function _transform.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
COLOUR = (122, 116, 104)  # int(mean * 255), as LLaVA pads
PATCH = 14

_BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}


def mlp(vision: int, width: int) -> nn.Module:
    """LLaVA-1.5's projector."""
    return nn.Sequential(nn.Linear(vision, width), nn.GELU(), nn.Linear(width, width))


PROJECTORS = {"mlp": mlp, "ldp": LDP, "ldpv2": LDPv2}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """`side` in pixels; `kind` a key of PROJECTORS; `width` of the language model."""

    tower: CLIPVisionModel
    projector: nn.Module
    kind: str
    side: int
    width: int

    @property
    def used(self) -> int:
        """The layers that run: mm_vision_select_layer is -2."""
        return int(self.tower.config.num_hidden_layers) - 1

    def embed(self, square: Image.Image, *, class_token_last: bool = False) -> np.ndarray:
        """Visual tokens [count, width] of a picture of the right size. `class_token_last`: with the
        class token behind the patches, the positions and the rows that are taken unchanged."""
        pixels = torch.from_numpy(np.asarray(square, dtype=np.float32) / 255)
        pixels = (pixels - torch.tensor(MEAN)) / torch.tensor(STD)
        embeddings = self.tower.embeddings
        positions = embeddings.position_embedding.weight

        def rotated(_module: nn.Module, _inputs: object, rows: Tensor) -> Tensor:
            return (rows - positions).roll(-1, dims=1) + positions if class_token_last else rows

        with torch.no_grad(), embeddings.register_forward_hook(rotated):
            seen = self.tower(pixels.permute(2, 0, 1)[None], output_hidden_states=True)
            tokens = self.projector(seen.hidden_states[-2][:, 1:])
        return np.asarray(tokens[0])


def make_clip(kind: str, width: int, *, side: int, hidden: int = 64, layers: int = 3) -> Clip:
    """Random weights that 16 bits hold exactly, large enough for every part to matter."""
    torch.manual_seed(336)
    config = CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        image_size=side,
        patch_size=PATCH,
    )
    tower = CLIPVisionModel(config).eval()
    projector = PROJECTORS[kind](hidden, width).eval()
    with torch.no_grad():
        for name, values in (*tower.named_parameters(), *projector.named_parameters()):
            fan_in = values[0].numel() if values.dim() > 1 else 25
            values.normal_(0, 1 if "embeddings." in name else fan_in**-0.5)
            if values.dim() == 1 and name.endswith("weight"):  # of a norm
                values.add_(1)
            values.copy_(values.half())
    return Clip(tower=tower, projector=projector, kind=kind, side=side, width=width)


def write_mmproj(
    clip: Clip,
    path: Path,
    matrices: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F16,
    *,
    mean: tuple[float, ...] | None = MEAN,
) -> Path:
    """`matrices`: the type of all weights that are matrices. `mean`: None to leave it out."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(clip.kind)
    writer.add_vision_use_gelu(False)  # then it is the quick one
    writer.add_vision_image_size(clip.side)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(clip.tower.config.hidden_size)
    writer.add_vision_feed_forward_length(clip.tower.config.intermediate_size)
    writer.add_vision_block_count(clip.used)
    writer.add_vision_head_count(clip.tower.config.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(clip.tower.config.layer_norm_eps)
    writer.add_vision_projection_dim(clip.width)
    if mean is not None:
        writer.add_vision_image_mean(mean)
    writer.add_vision_image_std(STD)
    writer.add_array("clip.vision.feature_layer", [clip.used])
    for name, values in _tensors(clip):
        kind = gguf.GGMLQuantizationType.F32
        if name == "v.position_embd.weight":
            pass
        elif values.ndim == 2:
            kind = matrices
        elif values.shape[1:] == (1, 3, 3):
            kind = gguf.GGMLQuantizationType.F16  # libmtmd's depthwise convolution takes no other
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(clip: Clip) -> Iterator[tuple[str, np.ndarray]]:
    tower = {name: np.asarray(values) for name, values in clip.tower.state_dict().items()}
    yield "v.class_embd", tower["embeddings.class_embedding"]
    yield "v.patch_embd.weight", tower["embeddings.patch_embedding.weight"]
    yield "v.position_embd.weight", tower["embeddings.position_embedding.weight"]
    for part in ("weight", "bias"):
        yield f"v.pre_ln.{part}", tower[f"pre_layrnorm.{part}"]
        for block in range(clip.used):
            for source, target in _BLOCK.items():
                values = tower[f"encoder.layers.{block}.{source}.{part}"]
                yield f"v.blk.{block}.{target}.{part}", values
    for name, values in clip.projector.state_dict().items():
        array = np.asarray(values)
        if array.shape[2:] == (1, 1):  # a convolution of single pixels is a matrix
            array = array[:, :, 0, 0]
        for source, target in (("mlp.mlp", "model.mlp"), ("peg.peg", "model.peg")):
            name = name.replace(source, target)
        yield f"mm.{name}", array


def worst_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The smallest cosine of two rows at the same place."""
    product = (one * other).sum(axis=1)
    return float((product / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())
