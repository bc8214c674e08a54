"""Trains the demo checkpoint on the CPU: `python -m imp_deploy.demo.train OUT` (42 minutes on one
core, measured; 94 % of 500 held-out questions right at 196 pixels).

A real, tiny Imp: SigLIP tower, two-layer GELU projector and Phi-2 language model, in the naming of
the hub checkpoints. Four things make it learn on a CPU:

* the tower is trained first, with throw-away heads that name the shape and the place under each
  patch, and that loss is kept on while everything is trained together;
* one picture serves many questions. They stand side by side behind it, and the attention mask lets
  each of them see only the picture and itself, so every question is the single turn it will be in
  use, and the visual tokens are paid for once;
* where a question names a shape, throw-away heads on the middle layer say where that shape lies and
  what it is: the model learns to find things before it can do anything with them;
* the language model learns this at 112 pixels, where there are 64 visual tokens, with the tower
  held still; only then everything is trained together at 196 and 384.

The position table is the 27 x 27 one of 384 pixels and is interpolated for smaller pictures exactly
as the exporter does it.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import nn
from transformers import PhiConfig, PhiForCausalLM, SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipVisionModel

from imp_deploy.demo import scenes
from imp_deploy.demo.checkpoint import (
    SYSTEM,
    phi_config,
    train_tokenizer,
    vision_config,
    write_checkpoint,
)
from imp_deploy.image import squash

PLACES = scenes.GRID**2
PATCH_CLASSES = 1 + len(scenes.COLOURS) * len(scenes.SHAPES)
IGNORED = -100


@dataclass(frozen=True)
class Stage:
    """`parts`: what is trained. `sides`: pixels and pictures per step, in turn. `balanced`: rare
    answers are asked for as often as frequent ones ("two" as "one")."""

    name: str
    parts: tuple[str, ...]
    steps: int
    sides: tuple[tuple[int, int], ...]
    rate: float
    balanced: bool = False


TOWER = ("embeddings", "encoder", "patch_head", "place_head")
LANGUAGE = ("projector", "llm", "named_place", "named_class")
NAMED_LAYER = 3  # of the language model's 6
STAGES = (
    Stage("tower", TOWER, 2600, ((112, 24), (196, 8), (112, 24), (196, 8), (384, 2)), 2e-3),
    Stage("language", LANGUAGE, 1000, ((112, 16),), 1.5e-3),
    Stage("joint", TOWER + LANGUAGE, 550, ((196, 8), (384, 2)), 5e-4, balanced=True),
)
SEED = 1
TURNS = 12
WARM_UP = 100


class Imp(nn.Module):
    """Tower, projector and language model, plus the throw-away patch head."""

    def __init__(self) -> None:
        super().__init__()
        vision = SiglipVisionConfig(**vision_config(), vision_use_head=False)
        text = PhiConfig(**phi_config())
        tower = SiglipVisionModel(vision)
        self.embeddings = tower.embeddings
        self.encoder = tower.encoder
        self.projector = nn.Sequential(
            nn.Linear(vision.hidden_size, text.hidden_size),
            nn.GELU(),
            nn.Linear(text.hidden_size, text.hidden_size),
        )
        self.llm = PhiForCausalLM(text)
        self.patch_head = nn.Linear(vision.hidden_size, PATCH_CLASSES)
        self.place_head = nn.Linear(vision.hidden_size, PLACES)
        self.named_place = nn.Linear(text.hidden_size, PLACES)
        self.named_class = nn.Linear(text.hidden_size, PATCH_CLASSES)
        # GPT-2's scaling, and token vectors that the first blocks do not drown.
        nn.init.normal_(self.llm.model.embed_tokens.weight, std=0.1)
        for layer in self.llm.model.layers:
            for linear in (layer.self_attn.dense, layer.mlp.fc2):
                nn.init.normal_(linear.weight, std=0.02 / math.sqrt(2 * text.num_hidden_layers))
        # A table near zero tells the patches apart too late; one of the patches' own size at once.
        nn.init.normal_(self.embeddings.position_embedding.weight, std=0.2)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """`pixels` [batch, 3, side, side] in -1..1 -> patch features [batch, patches, hidden]."""
        hidden = self.embeddings(pixels, interpolate_pos_encoding=True)
        features: torch.Tensor = self.encoder(inputs_embeds=hidden).last_hidden_state
        return features


@dataclass(frozen=True)
class Batch:
    pixels: torch.Tensor  # [batch, 3, side, side]
    patches: torch.Tensor  # [batch, patches]: class of the shape under each patch, 0 for none
    places: torch.Tensor  # [batch, patches]: cell of the grid that each patch lies in
    tokens: torch.Tensor  # [batch, length] behind the visual tokens
    positions: torch.Tensor  # [batch, length]
    turn: torch.Tensor  # [batch, length]: which question a token belongs to, -1 for padding
    labels: torch.Tensor  # [batch, length]: the next token where it is part of an answer
    named_place: torch.Tensor  # [batch, length]: cell of the shape that ends to be named here
    named_class: torch.Tensor  # [batch, length]: its class, as in `patches`


def pixels_of(image: Image.Image, side: int) -> np.ndarray:
    """Squashed to side x side, bicubic, scaled to -1..1; [3, side, side]."""
    return (np.asarray(squash(image, side), dtype=np.float32) / 127.5 - 1.0).transpose(2, 0, 1)


def patch_classes(scene: scenes.Scene, side: int) -> np.ndarray:
    """The class of the shape whose box holds each patch's centre; [patches]."""
    grid = side // 14
    centre = (np.arange(grid) * 14 + 7) / side
    classes = np.zeros((grid, grid), dtype=np.int64)
    for item in scene.items:
        left, top, right, bottom = item.box
        rows = (centre >= top) & (centre <= bottom)
        columns = (centre >= left) & (centre <= right)
        classes[np.ix_(rows, columns)] = item_class(item)
    return classes.reshape(-1)


def item_class(item: scenes.Item) -> int:
    colour = list(scenes.COLOURS).index(item.colour)
    return 1 + colour * len(scenes.SHAPES) + scenes.SHAPES.index(item.shape)


def patch_places(side: int) -> np.ndarray:
    """The cell of the scene's grid that holds each patch's centre; [patches]."""
    grid = side // 14
    cell = ((np.arange(grid) * 14 + 7) * scenes.GRID / side).astype(np.int64)
    return (cell[:, None] * scenes.GRID + cell[None, :]).reshape(-1)


def pick_questions(
    scene: scenes.Scene, stage: Stage, rng: np.random.Generator
) -> list[scenes.Question]:
    """`TURNS` questions, the kinds that are hard to learn more often than the others."""
    relative = [q for q in scenes.questions(scene) if q.kind == "position"]
    groups = [
        (4.0, relative),
        (3.0, scenes.place_questions(scene)),
        *(
            (weight, [q for q in scenes.questions(scene) if q.kind == kind])
            for kind, weight in (("colour", 1.5), ("shape", 2.0), ("count", 2.0))
        ),
    ]
    groups = [(weight, group) for weight, group in groups if group]
    weights = np.array([weight for weight, _ in groups])
    chosen = rng.choice(len(groups), size=TURNS, p=weights / weights.sum())
    return [_pick(groups[g][1], rng, balanced=stage.balanced) for g in chosen.tolist()]


def _pick(
    group: list[scenes.Question], rng: np.random.Generator, *, balanced: bool
) -> scenes.Question:
    if balanced:
        answers = sorted({question.answer for question in group})
        answer = answers[int(rng.integers(len(answers)))]
        group = [question for question in group if question.answer == answer]
    return group[int(rng.integers(len(group)))]


def batches(stage: Stage, tokenizer: Tokenizer, first: int) -> Iterator[Batch]:
    """An endless stream; scene numbers count up from `first`, so nothing is drawn twice."""
    prefix = tokenizer.encode(f"{SYSTEM} USER: ").ids
    end = tokenizer.token_to_id("<|endoftext|>")
    assert end is not None
    index = first
    for side, size in itertools.cycle(stage.sides):
        rows: list[tuple[scenes.Scene, list[scenes.Question]]] = []
        for _ in range(size):
            scene = scenes.scene_at("train", index)
            rng = np.random.default_rng([SEED, 7, index])
            rows.append((scene, pick_questions(scene, stage, rng)))
            index += 1
        yield _collate(rows, side, prefix, end, tokenizer)


def _collate(
    rows: list[tuple[scenes.Scene, list[scenes.Question]]],
    side: int,
    prefix: list[int],
    end: int,
    tokenizer: Tokenizer,
) -> Batch:
    start = len(prefix) + (side // 14) ** 2
    fill = {
        "tokens": 0,
        "positions": start,
        "turn": -1,
        "labels": IGNORED,
        "named_place": IGNORED,
        "named_class": IGNORED,
    }
    columns: dict[str, list[list[int]]] = {name: [] for name in fill}
    for _, asked in rows:
        line: dict[str, list[int]] = {name: [] for name in columns}
        for number, question in enumerate(asked):
            encoded = tokenizer.encode(f"\n{question.text} ASSISTANT:")
            prompt = encoded.ids
            answer = [*tokenizer.encode(f" {question.answer}").ids, end]
            ids = prompt + answer[:-1]
            line["tokens"] += ids
            line["positions"] += range(start, start + len(ids))
            line["turn"] += [number] * len(ids)
            line["labels"] += [IGNORED] * (len(prompt) - 1) + answer
            places, classes = [IGNORED] * len(ids), [IGNORED] * len(ids)
            for words, item in question.about:
                end_of_name = 1 + question.text.index(words) + len(words)
                last = next(i for i, (_, stop) in enumerate(encoded.offsets) if stop >= end_of_name)
                places[last] = item.row * scenes.GRID + item.column
                classes[last] = item_class(item)
            line["named_place"] += places
            line["named_class"] += classes
        for name, values in line.items():
            columns[name].append(values)
    longest = max(len(tokens) for tokens in columns["tokens"])
    padded = {
        name: torch.tensor([v + [fill[name]] * (longest - len(v)) for v in values])
        for name, values in columns.items()
    }
    return Batch(
        pixels=torch.from_numpy(np.stack([pixels_of(scenes.draw(s), side) for s, _ in rows])),
        patches=torch.from_numpy(np.stack([patch_classes(s, side) for s, _ in rows])),
        places=torch.from_numpy(np.stack([patch_places(side)] * len(rows))),
        **padded,
    )


def attention_mask(batch: Batch, prefix: int) -> torch.Tensor:
    """[batch, 1, length, length], true where a token may look: causal, and blind to other turns."""
    rows = batch.turn.shape[0]
    shared = torch.full((rows, prefix), -2)
    turn = torch.cat([shared, batch.turn], dim=1)
    length = turn.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = (turn[:, :, None] == turn[:, None, :]) | (turn[:, None, :] == -2)
    return (causal & same)[:, None]


@dataclass(frozen=True)
class Losses:
    answer: torch.Tensor
    patch: torch.Tensor
    place: torch.Tensor
    seen: torch.Tensor  # share of occupied patches that are named right
    named: torch.Tensor
    right: torch.Tensor  # share of answer tokens that are right


def losses(model: Imp, stage: Stage, batch: Batch, prefix: torch.Tensor) -> Losses:
    zero = torch.zeros(())
    with torch.set_grad_enabled("encoder" in stage.parts):
        features = model.features(batch.pixels)
        classes = model.patch_head(features)
        patch = cross_entropy(classes, batch.patches)
        occupied = batch.patches > 0
        seen = (classes.argmax(-1) == batch.patches)[occupied].float().mean()
        place = cross_entropy(model.place_head(features), batch.places)
    if "llm" not in stage.parts:
        return Losses(zero, patch, place, seen, zero, zero)
    rows = batch.pixels.shape[0]
    embed = model.llm.get_input_embeddings()
    visual = model.projector(features)
    head = embed(prefix).expand(rows, -1, -1)
    inputs = torch.cat([head, visual.float(), embed(batch.tokens)], dim=1)
    start = head.shape[1] + visual.shape[1]
    positions = torch.cat([torch.arange(start).expand(rows, -1), batch.positions], dim=1)
    states = model.llm.model(
        inputs_embeds=inputs,
        attention_mask=attention_mask(batch, start),
        position_ids=positions,
        use_cache=False,
        output_hidden_states=True,
    )
    middle = states.hidden_states[NAMED_LAYER][:, start:]
    hidden = states.last_hidden_state[:, start:]
    named = cross_entropy(model.named_place(middle), batch.named_place)
    named = named + cross_entropy(model.named_class(middle), batch.named_class)
    wanted = batch.labels != IGNORED
    logits = model.llm.lm_head(hidden[wanted]).float()
    labels = batch.labels[wanted]
    right = (logits.argmax(-1) == labels).float().mean()
    return Losses(nn.functional.cross_entropy(logits, labels), patch, place, seen, named, right)


def cross_entropy(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, -2).float(), classes.flatten())


def train(stages: Sequence[Stage], out: Path) -> None:
    """Runs the stages that `out` has no result of yet, and writes the checkpoint there."""
    torch.manual_seed(SEED)
    tokenizer = train_tokenizer()
    prefix = torch.tensor([tokenizer.encode(f"{SYSTEM} USER: ").ids])
    model = Imp()
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)

    def save() -> None:
        write_checkpoint(out, tokenizer, state_of(model))

    out.mkdir(parents=True, exist_ok=True)
    for number, stage in enumerate(stages):
        saved = out / f"stage-{number}.pt"
        if saved.exists():
            model.load_state_dict(torch.load(saved, weights_only=True))
            continue
        run_stage(model, stage, batches(stage, tokenizer, number << 32), prefix, save)
        torch.save(model.state_dict(), saved)
        save()


def run_stage(
    model: Imp,
    stage: Stage,
    stream: Iterator[Batch],
    prefix: torch.Tensor,
    save: Callable[[], None],
) -> None:
    """Trains the stage's parts; `save` is called now and then, so that a try can be looked at."""
    trained = [p for part in stage.parts for p in getattr(model, part).parameters()]
    optimizer = torch.optim.AdamW(trained, lr=stage.rate, betas=(0.9, 0.98), weight_decay=0.01)

    def rate(step: int) -> float:
        warm = min(1.0, (step + 1) / WARM_UP)
        return warm * (0.05 + 0.95 * (1 + math.cos(math.pi * min(1.0, step / stage.steps))) / 2)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    began = time.monotonic()
    for step in range(stage.steps):
        batch = next(stream)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = losses(model, stage, batch, prefix)
            loss = found.answer + 0.3 * found.named
            if "encoder" in stage.parts:
                loss = loss + 0.3 * (found.patch + 0.3 * found.place)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        scheduler.step()
        if step % 250 == 249:
            save()
        if step % 25 == 0 or step == stage.steps - 1:
            print(
                f"{stage.name} {step:5d}/{stage.steps}  {batch.pixels.shape[-1]} px"
                f"  answer {found.answer.item():.4f}  right {found.right.item():.3f}"
                f"  patch {found.patch.item():.4f}  seen {found.seen.item():.3f}"
                f"  named {found.named.item():.4f}"
                f"  {time.monotonic() - began:.0f} s",
                flush=True,
            )


def state_of(model: Imp) -> dict[str, torch.Tensor]:
    """Everything but the throw-away heads, under the names of `Imp`."""
    state: dict[str, Any] = model.state_dict()
    heads = ("patch_head.", "place_head.", "named_place.", "named_class.")
    return {k: v.detach() for k, v in state.items() if not k.startswith(heads)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder that the checkpoint is written to")
    parser.add_argument("--steps", type=float, default=1.0, help="share of the steps, for a try")
    options = parser.parse_args()
    stages = [dataclasses.replace(s, steps=int(s.steps * options.steps)) for s in STAGES]
    train(stages, options.out)


if __name__ == "__main__":
    main()
