"""Small random Imp checkpoints in every layout that is met in the wild.

The weights depend on family, sizes and seed alone, and every value is exact in F16, BF16 and F32:
two layouts of one seed are the same model, and must give the same result to the last bit.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tests.tokenizers_real import Family, Size, Vocabulary, write_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

Naming = Literal["hub", "train"]
Weights = Literal["safetensors", "bin"]
Dtype = Literal["f16", "bf16", "f32"]
Tower = Literal["all", "used", "separate"]

MODEL_TYPE = {"phi2": "imp", "qwen2": "imp_qwen2", "phi3": "imp_phi3"}
ARCHITECTURE = {
    "phi2": "ImpForCausalLM",
    "qwen2": "ImpQwen2ForCausalLM",
    "phi3": "ImpPhi3ForCausalLM",
}
TORCH_DTYPE = {"f16": "float16", "bf16": "bfloat16", "f32": "float32"}
REAL_ROWS = {"phi2": 51200, "qwen2": 151936, "phi3": 32064}
CONTEXT = 2048


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


def make_checkpoint(
    out: Path,
    *,
    family: Family,
    naming: Naming,
    weights: Weights = "safetensors",
    shards: int = 1,
    dtype: Dtype = "f16",
    tower: Tower = "used",
    aspect: Literal["square", "pad"] = "square",
    image_size: int = 384,
    seed: int = 0,
    tokenizer: Size | None = "small",
    vocabularies: Path | None = None,
    sizes: Sizes | None = None,
) -> Path:
    """Writes config, weights and tokenizer into `out`, and returns it.

    `hub` naming exists for phi2 only. `tower`: `used` leaves out what Imp does not use (in the
    training naming the last norm is still there, as the first version of the training repo kept
    it), `all` has it, `separate` writes a whole SigLIP checkpoint beside `out`, at
    `tower_of(out)`, and names it in the config. Special tokens and the rows behind the last token
    have zero rows in the head, so greedy text never ends by itself. `tokenizer` None writes no
    tokenizer files; `real` is for vocabularies of the published sizes and takes them from
    `vocabularies`, llama.cpp's `models` folder (files of 20 to 80 MB).
    """
    if naming == "hub" and family != "phi2":
        raise ValueError(f"{family} has no hub naming")
    if sizes is None:
        real_qwen = family == "qwen2" and tokenizer == "real"  # 151646 tokens: narrow rows
        sizes = Sizes(hidden=128, inner=256) if real_qwen else Sizes()
    out.mkdir(parents=True, exist_ok=True)
    if tokenizer is None:
        with tempfile.TemporaryDirectory() as scratch:
            vocabulary = write_tokenizer(Path(scratch), family)
    else:
        vocabulary = write_tokenizer(out, family, tokenizer, vocabularies)
    rows = REAL_ROWS[family] if tokenizer == "real" else (vocabulary.tokens // 64 + 2) * 64

    rng = Random(seed)
    vision = dict(_vision(sizes, image_size, rng.fork("vision")))
    language = _language(family, sizes, rows, vocabulary, rng.fork(family))
    projector = dict(_projector(sizes, rng.fork("projector")))
    llm = hub_names(language) if naming == "hub" else language
    room = "transformer" if naming == "hub" else "model"
    state = {**llm, **{f"{room}.mm_projector.{k}": v for k, v in projector.items()}}
    if tower != "separate":
        kept = {k: v for k, v in vision.items() if tower == "all" or _is_kept(k, naming, sizes)}
        prefix = f"{room}.vision_tower.vision_tower.vision_model"
        state |= {f"{prefix}.{k}": v for k, v in kept.items()}
    else:
        _write_siglip(tower_of(out), vision, sizes, image_size, rng.fork("text"), weights, dtype)

    config = hub_config(sizes) if naming == "hub" else train_config(family, sizes)
    config |= {
        "model_type": MODEL_TYPE[family],
        "architectures": [ARCHITECTURE[family]],
        "vocab_size": rows,
        "tie_word_embeddings": False,
        "torch_dtype": TORCH_DTYPE[dtype],
        "use_cache": True,
        "bos_token_id": 1 if family == "phi3" else vocabulary.eos,
        "eos_token_id": vocabulary.eos,
        "pad_token_id": vocabulary.eos,
        "image_aspect_ratio": aspect,
        "mm_hidden_size": sizes.vision_hidden,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
    }
    if vocabulary.image is not None:
        config |= {"image_token": "<image>", "image_token_index": vocabulary.image}
    if tower == "separate":
        config["mm_vision_tower"] = str(tower_of(out).resolve())
    else:
        config["vision_tower_config"] = vision_config(sizes, image_size)
    _write_json(out / "config.json", config)
    _write_json(out / "generation_config.json", {"eos_token_id": vocabulary.eos})
    _write_weights(out, state, weights, shards, dtype)
    return out


def tower_of(out: Path) -> Path:
    """Where `make_checkpoint(out, tower="separate")` puts the SigLIP checkpoint."""
    return out.parent / f"{out.name}-tower"


def vision_config(sizes: Sizes, image_size: int) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": sizes.vision_hidden,
        "intermediate_size": sizes.vision_inner,
        "num_hidden_layers": sizes.vision_layers,
        "num_attention_heads": sizes.vision_heads,
        "image_size": image_size,
        "patch_size": sizes.patch,
        "layer_norm_eps": 1e-6,
    }


def hub_config(sizes: Sizes) -> dict[str, Any]:
    """The old Phi's keys; `n_inner` null stands for four times the hidden size."""
    return {
        "n_embd": sizes.hidden,
        "n_layer": sizes.layers,
        "n_head": sizes.heads,
        "n_head_kv": None,
        "n_inner": None if sizes.inner == 4 * sizes.hidden else sizes.inner,
        "rotary_dim": sizes.rotary,
        "n_positions": CONTEXT,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "pad_vocab_size_multiple": 64,
        "flash_attn": False,
        "fused_dense": False,
    }


def train_config(family: Family, sizes: Sizes) -> dict[str, Any]:
    shared = {
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.inner,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads or sizes.heads,
        "max_position_embeddings": CONTEXT,
        "rope_scaling": None,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
    }
    if family == "phi2":
        return shared | {
            "hidden_act": "gelu_new",
            "layer_norm_eps": 1e-5,
            "partial_rotary_factor": sizes.rotary / (sizes.hidden // sizes.heads),
            "rope_theta": 10000.0,
            "qk_layernorm": False,
        }
    if family == "qwen2":
        return shared | {
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "use_sliding_window": False,
            "sliding_window": 32768,
            "max_window_layers": 21,
        }
    return shared | {
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "original_max_position_embeddings": CONTEXT,
        "sliding_window": 2047,
    }


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
        values = torch.randn(*shape, generator=generator) * std + mean
        return values.bfloat16().half().float()

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


def _vision(sizes: Sizes, image_size: int, rng: Random) -> Iterator[tuple[str, Tensor]]:
    """A whole SigLIP vision model, all layers, last norm and pooling head."""
    hidden, inner, patch = sizes.vision_hidden, sizes.vision_inner, sizes.patch
    fan = 3 * patch * patch
    conv = "embeddings.patch_embedding"
    yield f"{conv}.weight", rng.normal(conv, hidden, 3, patch, patch, std=3.0 / math.sqrt(fan))
    yield f"{conv}.bias", rng.normal(f"{conv}.bias", hidden, std=0.2)
    table = "embeddings.position_embedding.weight"
    yield table, rng.normal(table, (image_size // patch) ** 2, hidden, std=0.5)
    for i in range(sizes.vision_layers):
        layer = f"encoder.layers.{i}"
        for norm in ("layer_norm1", "layer_norm2"):
            yield from rng.norm(f"{layer}.{norm}", hidden, bias=True)
        for part, gain in (("q", 1.5), ("k", 1.5), ("v", 1.5), ("out", 1.5)):
            yield from rng.linear(f"{layer}.self_attn.{part}_proj", hidden, hidden, gain=gain)
        yield from rng.linear(f"{layer}.mlp.fc1", inner, hidden, gain=1.5)
        yield from rng.linear(f"{layer}.mlp.fc2", hidden, inner, gain=1.5)
    yield from rng.norm("post_layernorm", hidden, bias=True)
    yield "head.probe", rng.normal("head.probe", 1, 1, hidden)
    for part in ("weight", "bias"):
        name = f"head.attention.in_proj_{part}"
        shape = (3 * hidden, hidden) if part == "weight" else (3 * hidden,)
        yield name, rng.normal(name, *shape, std=0.1)
    yield from rng.linear("head.attention.out_proj", hidden, hidden)
    yield from rng.norm("head.layernorm", hidden, bias=True)
    yield from rng.linear("head.mlp.fc1", inner, hidden)
    yield from rng.linear("head.mlp.fc2", hidden, inner)


def _is_kept(name: str, naming: Naming, sizes: Sizes) -> bool:
    """Whether a checkpoint with the used part of the tower holds `name`."""
    if name.startswith("post_layernorm."):
        return naming == "train"
    last = f"encoder.layers.{sizes.vision_layers - 1}."
    return not name.startswith(("head.", last))


def _projector(sizes: Sizes, rng: Random) -> Iterator[tuple[str, Tensor]]:
    yield from rng.linear("0", sizes.hidden, sizes.vision_hidden, gain=0.7)
    yield from rng.linear("2", sizes.hidden, sizes.hidden, gain=1.5)


def _language(
    family: Family, sizes: Sizes, rows: int, vocabulary: Vocabulary, rng: Random
) -> State:
    """The language model in the training naming."""
    make = {"phi2": _phi2, "qwen2": _qwen2, "phi3": _phi3}[family]
    state = dict(make(sizes, rows, rng))
    silent = [*sorted(vocabulary.special), *range(vocabulary.tokens, rows)]
    for part in ("weight", "bias"):
        if f"lm_head.{part}" in state:
            state[f"lm_head.{part}"][silent] = 0.0
    return state


def _phi2(sizes: Sizes, rows: int, rng: Random) -> Iterator[tuple[str, Tensor]]:
    hidden, inner = sizes.hidden, sizes.inner
    yield "model.embed_tokens.weight", rng.normal("embed", rows, hidden)
    for i in range(sizes.layers):
        layer = f"model.layers.{i}"
        yield from rng.norm(f"{layer}.input_layernorm", hidden, bias=True)
        for part, gain in (("q_proj", 1.5), ("k_proj", 1.5), ("v_proj", 2.0), ("dense", 2.0)):
            yield from rng.linear(f"{layer}.self_attn.{part}", hidden, hidden, gain=gain)
        yield from rng.linear(f"{layer}.mlp.fc1", inner, hidden, gain=1.5)
        yield from rng.linear(f"{layer}.mlp.fc2", hidden, inner, gain=1.5)
    yield from rng.norm("model.final_layernorm", hidden, bias=True)
    yield from rng.linear("lm_head", rows, hidden, gain=3.0)


def _qwen2(sizes: Sizes, rows: int, rng: Random) -> Iterator[tuple[str, Tensor]]:
    hidden, inner = sizes.hidden, sizes.inner
    few = (sizes.kv_heads or sizes.heads) * (hidden // sizes.heads)
    yield "model.embed_tokens.weight", rng.normal("embed", rows, hidden)
    for i in range(sizes.layers):
        layer = f"model.layers.{i}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield from rng.norm(f"{layer}.{norm}", hidden, bias=False)
        attention = f"{layer}.self_attn"
        yield from rng.linear(f"{attention}.q_proj", hidden, hidden, gain=1.5)
        yield from rng.linear(f"{attention}.k_proj", few, hidden, gain=1.5)
        yield from rng.linear(f"{attention}.v_proj", few, hidden, gain=2.0)
        yield from rng.linear(f"{attention}.o_proj", hidden, hidden, gain=2.0, bias=False)
        for part in ("gate", "up"):
            yield from rng.linear(f"{layer}.mlp.{part}_proj", inner, hidden, gain=1.5, bias=False)
        yield from rng.linear(f"{layer}.mlp.down_proj", hidden, inner, gain=1.5, bias=False)
    yield from rng.norm("model.norm", hidden, bias=False)
    yield from rng.linear("lm_head", rows, hidden, gain=3.0, bias=False)


def _phi3(sizes: Sizes, rows: int, rng: Random) -> Iterator[tuple[str, Tensor]]:
    hidden, inner = sizes.hidden, sizes.inner
    few = (sizes.kv_heads or sizes.heads) * (hidden // sizes.heads)
    yield "model.embed_tokens.weight", rng.normal("embed", rows, hidden)
    for i in range(sizes.layers):
        layer = f"model.layers.{i}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield from rng.norm(f"{layer}.{norm}", hidden, bias=False)
        for name, outputs, inputs, gain in (
            ("self_attn.qkv_proj", hidden + 2 * few, hidden, 1.7),
            ("self_attn.o_proj", hidden, hidden, 2.0),
            ("mlp.gate_up_proj", 2 * inner, hidden, 1.5),
            ("mlp.down_proj", hidden, inner, 1.5),
        ):
            yield from rng.linear(f"{layer}.{name}", outputs, inputs, gain=gain, bias=False)
    yield from rng.norm("model.norm", hidden, bias=False)
    yield from rng.linear("lm_head", rows, hidden, gain=3.0, bias=False)


def hub_names(language: State) -> State:
    """Phi-2 in the hub naming: Q, K and V in one `Wqkv`, the last norm inside `lm_head`."""
    import torch

    named: State = {}
    for name, tensor in language.items():
        parts = name.split(".")
        kind = parts[-1]
        if name == "model.embed_tokens.weight":
            named["transformer.embd.wte.weight"] = tensor
        elif name.startswith("model.final_layernorm."):
            named[f"lm_head.ln.{kind}"] = tensor
        elif name.startswith("lm_head."):
            named[f"lm_head.linear.{kind}"] = tensor
        else:
            block = f"transformer.h.{parts[2]}"
            if parts[3] == "input_layernorm":
                named[f"{block}.ln.{kind}"] = tensor
            elif parts[3] == "mlp":
                named[f"{block}.mlp.{parts[4]}.{kind}"] = tensor
            elif parts[4] == "dense":
                named[f"{block}.mixer.out_proj.{kind}"] = tensor
            elif parts[4] == "q_proj":
                rest = [language[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
                named[f"{block}.mixer.Wqkv.{kind}"] = torch.cat(rest)
    return named


def _write_siglip(
    out: Path,
    vision: State,
    sizes: Sizes,
    image_size: int,
    rng: Random,
    weights: Weights,
    dtype: Dtype,
) -> None:
    """A SigLIP checkpoint: the vision model beside a text model that Imp has no use for."""
    out.mkdir(parents=True, exist_ok=True)
    text = {
        "text_model.embeddings.token_embedding.weight": rng.normal("tokens", 96, 32),
        "text_model.embeddings.position_embedding.weight": rng.normal("positions", 64, 32),
        "text_model.final_layer_norm.weight": rng.normal("norm", 32),
        "text_model.final_layer_norm.bias": rng.normal("norm.bias", 32),
        "text_model.head.weight": rng.normal("head", 32, 32),
        "text_model.head.bias": rng.normal("head.bias", 32),
        "logit_scale": rng.normal("scale", 1),
        "logit_bias": rng.normal("bias", 1),
    }
    state = text | {f"vision_model.{k}": v for k, v in vision.items()}
    config = {
        "model_type": "siglip",
        "architectures": ["SiglipModel"],
        "text_config": {"model_type": "siglip_text_model", "hidden_size": 32, "vocab_size": 96},
        "vision_config": vision_config(sizes, image_size),
        "torch_dtype": TORCH_DTYPE[dtype],
    }
    _write_json(out / "config.json", config)
    _write_weights(out, state, weights, 1, dtype)


def _write_weights(out: Path, state: State, weights: Weights, shards: int, dtype: Dtype) -> None:
    import torch

    stored = getattr(torch, TORCH_DTYPE[dtype])
    tensors = {name: tensor.to(stored).contiguous() for name, tensor in state.items()}
    stem, ending = (
        ("model", "safetensors") if weights == "safetensors" else ("pytorch_model", "bin")
    )
    if shards == 1:
        _save(out / f"{stem}.{ending}", tensors)
        return
    total = sum(_bytes(tensor) for tensor in tensors.values())
    parts: list[State] = [{} for _ in range(shards)]
    done = 0
    for name, tensor in tensors.items():
        parts[min(done * shards // total, shards - 1)][name] = tensor
        done += _bytes(tensor)
    names = [f"{stem}-{i + 1:05d}-of-{shards:05d}.{ending}" for i in range(shards)]
    for file, part in zip(names, parts, strict=True):
        _save(out / file, part)
    weight_map = {k: file for file, part in zip(names, parts, strict=True) for k in part}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(out / f"{stem}.{ending}.index.json", index)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _save(path: Path, tensors: State) -> None:
    import torch
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        torch.save(tensors, path)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
