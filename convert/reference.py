"""Imp in PyTorch and float32: what `verify` compares a bundle with.

It is made of transformers' own SigLIP, Phi, Qwen2 and Phi-3 modules, and it reads a checkpoint by
itself instead of with the exporter's modules: a mistake there must not be repeated here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from imp_deploy.convert.reference_weights import read_weights
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object
from imp_deploy.image import squash

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor, nn

    Floats = NDArray[np.float32]
    State = dict[str, Tensor]

Mode = Literal["squash", "pad"]
Kind = Literal["phi", "qwen2", "phi3"]
M = TypeVar("M", bound="nn.Module")

KINDS: dict[str, Kind] = {
    "imp": "phi",
    "imp_qwen2": "qwen2",
    "imp_phi3": "phi3",
    "ImpForCausalLM": "phi",
    "ImpQwen2ForCausalLM": "qwen2",
    "ImpPhi3ForCausalLM": "phi3",
}

# What the language model's configuration takes from config.json. Token ids are left out on purpose:
# a pad id outside a small table is an error to transformers, and nothing here needs them.
LLM_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "layer_norm_eps",
    "rms_norm_eps",
    "qk_layernorm",
    "partial_rotary_factor",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "layer_types",
    "tie_word_embeddings",
)
TOWER_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
)

# Hub naming -> training naming; `mixer.Wqkv` is split by hand.
HUB_NAMES = (
    (r"transformer\.embd\.wte\.", "model.embed_tokens."),
    (r"transformer\.h\.(\d+)\.ln\.", r"model.layers.\1.input_layernorm."),
    (r"transformer\.h\.(\d+)\.mixer\.out_proj\.", r"model.layers.\1.self_attn.dense."),
    (r"transformer\.h\.(\d+)\.mixer\.", r"model.layers.\1.self_attn."),
    (r"transformer\.h\.(\d+)\.mlp\.", r"model.layers.\1.mlp."),
    (r"lm_head\.ln\.", "model.final_layernorm."),
    (r"lm_head\.linear\.", "lm_head."),
)
TOWER_NAME = re.compile(r"(?:(?:model|transformer)\.vision_tower\.vision_tower\.)?vision_model\.")
PROJECTOR_NAME = re.compile(r"(?:model|transformer)\.mm_projector\.")
# Imp uses neither; `position_ids` and `inv_freq` are constants that old versions stored.
UNUSED_TOWER = re.compile(r"head\.|post_layernorm\.|embeddings\.position_ids$")
UNUSED_LLM = re.compile(r".*rotary_emb\.inv_freq$|.*\.self_attn\.inner_(cross_)?attn\.")
UNUSED_SIGLIP = re.compile(r"text_model\.|logit_(scale|bias)$")


@dataclass(frozen=True, eq=False)
class Reference:
    """One checkpoint at one resolution. Everything is float32 on the CPU.

    `dataclasses.replace(reference, side=...)` is the same at another one, and loads nothing again.
    """

    side: int  # pixels
    mode: Mode
    tower: nn.ModuleDict
    projector: nn.Module
    llm: Any  # PhiForCausalLM, Qwen2ForCausalLM or Phi3ForCausalLM

    def embed(self, image: Image.Image) -> Floats:
        """The image as the language model sees it: [visual tokens, hidden]."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(preprocess(image, self.side, self.mode))[None]
            hidden = self.tower["embeddings"](pixels, interpolate_pos_encoding=True)
            features = self.tower["encoder"](inputs_embeds=hidden).last_hidden_state
            return _numpy(self.projector(features)[0])

    def greedy(
        self,
        before: list[int],
        embeddings: Floats,
        after: list[int],
        max_new: int,
        eog: set[int] | None = None,
    ) -> tuple[list[int], Floats]:
        """The most likely continuation of text `before`, the image, text `after`.

        `embeddings` is [visual tokens, hidden], [0, hidden] for none. Returns at most `max_new`
        token ids and the logits [ids, vocabulary rows] each was chosen from. A token of `eog` ends
        it, and is the last id returned.
        """
        import torch

        ids: list[int] = []
        logits: list[Tensor] = []
        with torch.inference_mode():
            table = self.llm.get_input_embeddings()
            parts = [table(torch.tensor(part, dtype=torch.long)) for part in (before, after)]
            hidden = torch.cat([parts[0], torch.from_numpy(embeddings), parts[1]])[None]
            step = self.llm(inputs_embeds=hidden, use_cache=True, logits_to_keep=1)
            while len(ids) < max_new:
                logits.append(step.logits[0, -1])
                ids.append(int(logits[-1].argmax()))
                if len(ids) == max_new or ids[-1] in (eog or ()):
                    break
                step = self.llm(
                    input_ids=torch.tensor([ids[-1:]]),
                    past_key_values=step.past_key_values,
                    use_cache=True,
                )
            empty = torch.empty(0, self.llm.config.vocab_size)
            return ids, _numpy(torch.stack(logits) if logits else empty)

    def text_logits(self, ids: list[int]) -> Floats:
        """Logits [ids, vocabulary rows] after each token of a text without an image."""
        import torch

        with torch.inference_mode():
            return _numpy(self.llm(input_ids=torch.tensor([ids]), use_cache=False).logits[0])


def load_reference(
    model: Path, *, vision_tower: Path | None = None, resolution: int | None = None
) -> Reference:
    """Reads the checkpoint folder `model`; every tensor must be used or known to be unused.

    `vision_tower` is the SigLIP folder of a checkpoint that holds no tower of its own; without it,
    `mm_vision_tower` of config.json is tried as a path, never as a hub id. At a `resolution`
    (pixels) other than the checkpoint's, the position table is interpolated. A full-size model
    needs about 13 GB of memory. Raises `BadInput`.
    """
    require_torch()
    config = read_json_object(model / "config.json")
    kind = _kind(config, model)
    expect(config, "mm_projector_type", "mlp2x_gelu", model)
    expect(config, "mm_vision_select_feature", "patch", model)
    llm_state, projector_state, tower_state = _split(read_weights(model))
    stated = config.get("vision_tower_config")
    if tower_state and vision_tower is not None:
        raise BadInput(f"{model} holds its own vision tower; leave {vision_tower} out")
    if not tower_state:
        vision_tower = _named_tower(config, model) if vision_tower is None else vision_tower
        tower_state = _read_tower(vision_tower)
        if stated is None:
            siglip = read_json_object(vision_tower / "config.json")
            stated = siglip.get("vision_config", siglip)

    vision = _vision_config(tower_state, stated, model)
    side = vision.image_size if resolution is None else resolution
    if side < vision.patch_size:
        raise BadInput(f"{side} pixels are less than one patch of {vision.patch_size}")
    tower = _tower(vision, config.get("mm_vision_select_layer", -2), tower_state, model)
    llm = _language_model(kind, _llm_config(config, model), llm_state, model)
    return Reference(
        side=side,
        mode=_mode(config, model),
        tower=tower,
        projector=_projector(vision.hidden_size, llm.config.hidden_size, projector_state, model),
        llm=llm,
    )


def preprocess(image: Image.Image, side: int, mode: Mode) -> Floats:
    """Pixels [3, side, side] in -1..1. `pad`: grey (127) to a square first, image in the middle."""
    from PIL import Image

    image = image.convert("RGB")
    if mode == "pad":
        longest = max(image.size)
        square = Image.new("RGB", (longest, longest), (127, 127, 127))
        square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
        image = square
    pixels = (np.asarray(squash(image, side), dtype=np.float32) / 255 - 0.5) / 0.5
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def require_torch() -> None:
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"comparing with PyTorch needs torch and transformers ({error}): "
            "pip install 'imp-deploy[torch]'"
        ) from error


def expect(config: dict[str, Any], key: str, value: str, model: Path) -> None:
    if config.get(key, value) != value:
        raise BadInput(f"{model}/config.json: {key} is {config[key]!r}, Imp has {value!r}")


def _kind(config: dict[str, Any], model: Path) -> Kind:
    claims = [config.get("model_type"), *(config.get("architectures") or [])]
    kinds = {KINDS[claim] for claim in claims if claim in KINDS}
    if len(kinds) != 1:
        raise BadInput(f"{model}/config.json names {claims}, not one of the Imp models")
    return kinds.pop()


def _mode(config: dict[str, Any], model: Path) -> Mode:
    ratio = config.get("image_aspect_ratio", "square")
    if ratio not in ("square", "pad"):
        raise BadInput(f"{model}/config.json: image_aspect_ratio {ratio!r} is not square or pad")
    return "pad" if ratio == "pad" else "squash"


def _split(weights: State) -> tuple[State, State, State]:
    """(language model, projector, vision tower), under the names of transformers' modules."""
    llm: State = {}
    projector: State = {}
    tower: State = {}
    for name, tensor in weights.items():
        if match := TOWER_NAME.match(name):
            tower[name[match.end() :]] = tensor
        elif match := PROJECTOR_NAME.match(name):
            projector[name[match.end() :]] = tensor
        else:
            for pattern, replacement in HUB_NAMES:
                name = re.sub(f"^{pattern}", replacement, name)
            llm[name] = tensor
    return {k: v for k, v in llm.items() if not UNUSED_LLM.match(k)}, projector, tower


def _named_tower(config: dict[str, Any], model: Path) -> Path:
    name = config.get("mm_vision_tower")
    if not name or not Path(name).is_dir():
        raise BadInput(
            f"{model} holds no vision tower and names {name!r}, which is no folder here; "
            "give its folder with --vision-tower"
        )
    return Path(name)


def _read_tower(folder: Path) -> State:
    weights = {k: v for k, v in read_weights(folder).items() if not UNUSED_SIGLIP.match(k)}
    others = [name for name in weights if not name.startswith("vision_model.")]
    if others or not weights:
        raise BadInput(f"{folder} is not a SigLIP checkpoint; unknown tensors: {others[:5]}")
    return {name.removeprefix("vision_model."): tensor for name, tensor in weights.items()}


def _vision_config(state: State, stated: dict[str, Any] | None, model: Path) -> Any:
    """The whole tower's shape. Nothing stated: the tensors' shapes, and SigLIP-SO400M's the rest.

    SO400M has 27 layers, 16 heads and 384 pixels for 27 x 27 positions.
    """
    from transformers import SiglipVisionConfig

    with _refusing(f"{model}: vision tower"):
        if stated is not None:
            shape: dict[str, Any] = {key: stated[key] for key in TOWER_KEYS if key in stated}
        else:
            hidden, channels, patch, _ = state["embeddings.patch_embedding.weight"].shape
            grid = math.isqrt(state["embeddings.position_embedding.weight"].shape[0])
            shape = {
                "hidden_size": hidden,
                "intermediate_size": state["encoder.layers.0.mlp.fc1.weight"].shape[0],
                "num_hidden_layers": 27,
                "num_attention_heads": 16,
                "num_channels": channels,
                "image_size": 384 if grid == 384 // patch else grid * patch,
                "patch_size": patch,
            }
        shape |= {"attn_implementation": "eager"}  # unset, transformers warns
        return SiglipVisionConfig(**shape)


def _tower(vision: Any, select: int, state: State, model: Path) -> nn.ModuleDict:
    """Embeddings and the layers up to `select`: an index into embeddings + layer outputs.

    So of 27 layers, -2 takes the output of the 26th. Later layers, the norm behind the last one and
    the pooling head are dropped where they are stored.
    """
    import torch
    from torch import nn
    from transformers.models.siglip.modeling_siglip import SiglipEncoder, SiglipVisionEmbeddings

    whole = vision.num_hidden_layers
    used = select if select >= 0 else whole + 1 + select
    if not 0 < used <= whole:
        raise BadInput(f"{model}: mm_vision_select_layer {select} of {whole} layers")

    def layer(name: str) -> int:
        match = re.match(r"encoder\.layers\.(\d+)\.", name)
        return int(match[1]) if match else -1

    if (stored := max(map(layer, state)) + 1) > whole:
        raise BadInput(f"{model}: the vision tower has {stored} layers, its config says {whole}")
    wanted = {k: v for k, v in state.items() if layer(k) < used and not UNUSED_TOWER.match(k)}
    vision.num_hidden_layers = used
    with _refusing(f"{model}: vision tower"):
        with torch.device("meta"):
            tower = nn.ModuleDict(
                {"embeddings": SiglipVisionEmbeddings(vision), "encoder": SiglipEncoder(vision)}
            )
        positions = (vision.image_size // vision.patch_size) ** 2
        tower["embeddings"].position_ids = torch.arange(positions)[None]
        return _load(tower, wanted)


def _projector(vision_hidden: int, hidden: int, state: State, model: Path) -> nn.Sequential:
    import torch
    from torch import nn

    with torch.device("meta"):
        layers = nn.Linear(vision_hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        projector = nn.Sequential(*layers)
    with _refusing(f"{model}: projector"):
        return _load(projector, state)


def _llm_config(config: dict[str, Any], model: Path) -> dict[str, Any]:
    """The arguments of transformers' configuration, from the new keys or those of the old Phi."""
    if "n_embd" not in config:
        return {k: config[k] for k in LLM_KEYS if config.get(k) is not None}
    try:
        hidden, heads, layers = config["n_embd"], config["n_head"], config["n_layer"]
        rows = math.ceil(config["vocab_size"] / 64) * 64  # as the old Phi's configuration does
    except KeyError as error:
        raise BadInput(f"{model}/config.json has no {error}") from error
    rotary = min(config.get("rotary_dim", 32), hidden // heads)
    return {
        "vocab_size": rows,
        "hidden_size": hidden,
        "intermediate_size": config.get("n_inner") or 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": config.get("n_head_kv") or heads,
        "hidden_act": config.get("activation_function", "gelu_new"),
        "max_position_embeddings": config.get("n_positions", 2048),
        "layer_norm_eps": config.get("layer_norm_epsilon", 1e-5),
        "partial_rotary_factor": rotary / (hidden // heads),
        "tie_word_embeddings": config.get("tie_word_embeddings", False),
    }


def _language_model(kind: Kind, keys: dict[str, Any], state: State, model: Path) -> Any:
    import torch
    import transformers

    config_type, model_type = {
        "phi": (transformers.PhiConfig, transformers.PhiForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "phi3": (transformers.Phi3Config, transformers.Phi3ForCausalLM),
    }[kind]
    with _refusing(f"{model}/config.json"):
        config = config_type(**keys, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    head = config.hidden_size // config.num_attention_heads
    widths = [w * head for w in (config.num_attention_heads, *[config.num_key_value_heads] * 2)]
    split: State = {}
    for name, tensor in state.items():
        if ".self_attn.Wqkv." not in name:
            split[name] = tensor
        elif tensor.shape[0] != sum(widths):
            raise BadInput(f"{model}: {name} has {tensor.shape[0]} rows, not {sum(widths)}")
        else:  # rows are Q, then K, then V
            for letter, part in zip("qkv", torch.split(tensor, widths), strict=True):
                split[name.replace("Wqkv", f"{letter}_proj")] = part
    if config.tie_word_embeddings and "model.embed_tokens.weight" in split:
        split.setdefault("lm_head.weight", split["model.embed_tokens.weight"])
    with _refusing(f"{model}: language model"):
        with torch.device("meta"):
            llm: Any = model_type(config)
        llm.model.rotary_emb = type(llm.model.rotary_emb)(config)  # its frequencies are not stored
        return _load(llm, split)


def _load(module: M, state: State) -> M:
    import torch

    # Raises an error that lists missing, unexpected and wrongly shaped tensors.
    module.load_state_dict({k: v.to(torch.float32) for k, v in state.items()}, assign=True)
    return module.eval().requires_grad_(False)


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turns whatever the libraries say of sizes that do not fit together into `BadInput`."""
    try:
        yield
    except Exception as error:
        raise BadInput(f"{what}: {error}") from error


def _numpy(tensor: Tensor) -> Floats:
    array: Floats = tensor.numpy()
    return array
