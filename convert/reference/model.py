"""The reference itself: reading it, and asking it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imp_deploy.convert.reference.language import (
    attention_widths,
    build_language_model,
    language_config,
)
from imp_deploy.convert.reference.loading import require_torch
from imp_deploy.convert.reference.lora import CONFIG, merge, read_lora
from imp_deploy.convert.reference.names import split_parts
from imp_deploy.convert.reference.pictures import Colours, Mode, preprocess
from imp_deploy.convert.reference.projector import build_projector
from imp_deploy.convert.reference.statement import Config, is_multimodal, kind_of, read_statement
from imp_deploy.convert.reference.tower import Tower, build_tower, read_tower
from imp_deploy.convert.reference.weights import read_weights
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor, nn

    Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Reference:
    """One checkpoint at one resolution. Everything is float32 on the CPU.

    `dataclasses.replace(reference, side=...)` is the same at another one, and loads nothing again.
    """

    side: int  # pixels
    mode: Mode
    tower: Tower
    projector: nn.Module
    llm: Any  # PhiForCausalLM, Qwen2ForCausalLM, Phi3ForCausalLM or LlamaForCausalLM

    @property
    def colours(self) -> Colours:
        return self.tower.colours

    def embed(self, image: Image.Image) -> Floats:
        """The image as the language model sees it: [visual tokens, hidden]."""
        import torch

        with torch.inference_mode():
            pixels = preprocess(image, self.side, self.mode, self.colours)
            features = self.tower.features(torch.from_numpy(pixels)[None])
            return _numpy(self.projector(features)[0].contiguous())

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
    model: Path,
    *,
    vision_tower: Path | None = None,
    base: Path | None = None,
    resolution: int | None = None,
) -> Reference:
    """Reads the checkpoint folder `model`; every tensor must be used or known to be unused.

    With `base`, `model` is a LoRA folder of the training code and `base` the checkpoint that it was
    trained on: a plain language model, or a whole Imp, LLaVA or MobileVLM. `vision_tower` is the
    SigLIP or CLIP folder of a checkpoint that holds no tower of its own; without it,
    `mm_vision_tower` of config.json is tried as a path, never as a hub id. At a `resolution`
    (pixels) other than the checkpoint's, the position table is interpolated. A full-size model
    needs four bytes of memory per weight: 13 GB for Imp-3B, 28 GB for LLaVA-1.5-7B. Raises
    `BadInput`.
    """
    require_torch()
    whole = model if base is None else base
    config = _config(model, base)
    where = str(model)
    statement = read_statement(config, f"{model}/config.json")
    language = language_config(statement.kind, statement.language, f"{model}/config.json")
    widths = attention_widths(language)
    parts = split_parts(read_weights(whole), widths, str(whole))
    if base is not None:
        merge(parts, read_lora(model), widths)

    stated, tower_state = statement.vision, parts["tower"]
    if tower_state and vision_tower is not None:
        raise BadInput(f"{whole} holds its own vision tower; leave {vision_tower} out.")
    if not tower_state:
        folder = _named_tower(statement.tower, whole) if vision_tower is None else vision_tower
        tower_state, outside = read_tower(folder)
        stated = outside if stated is None else stated
    tower = build_tower(tower_state, stated, statement.select, where)
    side = tower.side if resolution is None else resolution
    if side < tower.patch:
        raise BadInput(
            f"{side} pixels are less than one patch of {tower.patch}; choose a larger resolution."
        )
    llm = build_language_model(statement.kind, language, parts["language"], where)
    projector = build_projector(
        statement.projector, tower.hidden, language.hidden_size, parts["projector"], where
    )
    return Reference(side, statement.mode, tower, projector, llm)


def _config(model: Path, base: Path | None) -> Config:
    """The multimodal config: the LoRA folder's own one, or its base's."""
    adapter = (model / CONFIG).is_file()
    if base is None:
        if adapter and not any(model.glob("*model*.index.json")) and not _has_weights(model):
            raise BadInput(
                f"{model} is a LoRA folder; give the model that it was trained on with --base."
            )
        return read_json_object(model / "config.json")
    if not adapter:
        raise BadInput(f"{model} has no {CONFIG}, so it is no LoRA folder; leave --base out.")
    of_base = read_json_object(base / "config.json")
    own = read_json_object(model / "config.json") if (model / "config.json").is_file() else {}
    if not is_multimodal(own):
        return of_base
    kinds = kind_of(own, f"{model}/config.json"), kind_of(of_base, f"{base}/config.json")
    if kinds[0] != kinds[1]:
        raise BadInput(
            f"{model} was trained on a {kinds[0]} model and {base} is a {kinds[1]} model; give the "
            "right --base."
        )
    # The tower that a whole base holds is described there, if nowhere else.
    for key in ("vision_tower_config", "vision_config"):
        if key in of_base and key not in own:
            own = {**own, key: of_base[key]}
    return own


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("model*.safetensors")) or any(folder.glob("pytorch_model*.bin"))


def _named_tower(name: str | None, model: Path) -> Path:
    if not name or not Path(name).is_dir():
        raise BadInput(
            f"{model} holds no vision tower and names {name!r}, which is no folder here; "
            "give its folder with --vision-tower."
        )
    return Path(name)


def _numpy(tensor: Tensor) -> Floats:
    array: Floats = tensor.numpy()
    return array
