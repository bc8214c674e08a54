"""The demo task: drawn scenes of one to four coloured shapes, and questions about them.

Everything is a function of `(split, index)`: the same pair always gives the same picture and the
same questions, and the two splits never share a random stream, so a held-out question cannot have
been trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

Split = Literal["train", "test"]
Kind = Literal["colour", "shape", "count", "position"]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (44, 160, 60),
    "blue": (40, 80, 210),
    "yellow": (240, 200, 20),
    "purple": (140, 60, 170),
    "orange": (245, 130, 20),
}
SHAPES = ("circle", "square", "triangle", "star")
NUMBERS = ("zero", "one", "two", "three", "four")
KINDS: tuple[Kind, ...] = ("colour", "shape", "count", "position")
GRID = 3
_SPLIT_KEY: dict[Split, int] = {"train": 0, "test": 1}


@dataclass(frozen=True)
class Item:
    """One shape in the cell `row`, `column`. `box`: left, top, right, bottom as fractions."""

    colour: str
    shape: str
    row: int
    column: int
    box: tuple[float, float, float, float]

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Shapes on a plain background of `width` x `height` pixels."""

    items: tuple[Item, ...]
    background: tuple[int, int, int]
    width: int
    height: int


@dataclass(frozen=True)
class Question:
    """`about`: the shapes that the text names, each with the words that name it."""

    kind: Kind
    text: str
    answer: str
    about: tuple[tuple[str, Item], ...] = ()


def rng_for(split: Split, index: int) -> np.random.Generator:
    return np.random.default_rng([20240512, _SPLIT_KEY[split], index])


def random_scene(rng: np.random.Generator) -> Scene:
    """One to four shapes, no two of the same colour and shape, each in a cell of its own."""
    count = int(rng.integers(1, 5))
    cells = rng.choice(GRID * GRID, size=count, replace=False)
    pairs = rng.choice(len(COLOURS) * len(SHAPES), size=count, replace=False)
    names = list(COLOURS)
    items = []
    for cell, pair in zip(cells.tolist(), pairs.tolist(), strict=True):
        row, column = divmod(cell, GRID)
        size = rng.uniform(0.62, 0.88) / GRID
        slack = 1 / GRID - size
        left = column / GRID + rng.uniform(0, slack)
        top = row / GRID + rng.uniform(0, slack)
        colour, shape = names[pair // len(SHAPES)], SHAPES[pair % len(SHAPES)]
        items.append(Item(colour, shape, row, column, (left, top, left + size, top + size)))
    grey = int(rng.integers(225, 250))
    tint = rng.integers(-6, 6, size=3)
    background = (grey + int(tint[0]), grey + int(tint[1]), grey + int(tint[2]))
    width, height = ((400, 400), (400, 300), (300, 400))[int(rng.integers(3))]
    return Scene(tuple(items), background, width, height)


def draw(scene: Scene) -> Image.Image:
    """The scene as an RGB picture of `scene.width` x `scene.height`."""
    image = Image.new("RGB", (scene.width, scene.height), scene.background)
    pen = ImageDraw.Draw(image)
    for item in scene.items:
        left, top, right, bottom = item.box
        box = (
            left * scene.width,
            top * scene.height,
            right * scene.width,
            bottom * scene.height,
        )
        fill = COLOURS[item.colour]
        if item.shape == "circle":
            pen.ellipse(box, fill=fill)
        elif item.shape == "square":
            pen.rectangle(box, fill=fill)
        else:
            pen.polygon(_corners(item.shape, box), fill=fill)
    return image


def _corners(shape: str, box: tuple[float, float, float, float]) -> list[tuple[float, float]]:
    left, top, right, bottom = box
    if shape == "triangle":
        return [((left + right) / 2, top), (right, bottom), (left, bottom)]
    angles = -np.pi / 2 + np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    x = (left + right) / 2 + (right - left) / 2 * radii * np.cos(angles)
    y = (top + bottom) / 2 + (bottom - top) / 2 * radii * np.sin(angles)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def questions(scene: Scene) -> list[Question]:
    """Every question that has one right answer in this scene."""
    items = scene.items
    found = [Question("count", "How many objects are there?", NUMBERS[len(items)])]
    for colour in COLOURS:
        same = [item for item in items if item.colour == colour]
        if same:
            text = f"How many {colour} objects are there?"
            found.append(Question("count", text, NUMBERS[len(same)]))
        if len(same) == 1:
            text = f"What shape is the {colour} object?"
            found.append(Question("shape", text, same[0].shape, ((f"{colour} object", same[0]),)))
    for shape in SHAPES:
        same = [item for item in items if item.shape == shape]
        if same:
            text = f"How many {shape}s are there?"
            found.append(Question("count", text, NUMBERS[len(same)]))
        if len(same) == 1:
            text = f"What colour is the {shape}?"
            found.append(Question("colour", text, same[0].colour, ((shape, same[0]),)))
    for first in items:
        for second in items:
            if first is not second and (first.row == second.row or first.column == second.column):
                text = f"Where is the {first.name} relative to the {second.name}?"
                about = ((first.name, first), (second.name, second))
                found.append(Question("position", text, _direction(first, second), about))
    return found


def _direction(first: Item, second: Item) -> str:
    """Where `first` lies relative to `second`; they share a row or a column."""
    if first.row == second.row:
        return "left" if first.column < second.column else "right"
    return "above" if first.row < second.row else "below"


def place_questions(scene: Scene) -> list[Question]:
    """Where each shape lies in the picture, and what lies there. The test asks none of them; they
    teach the model to find a shape, and a place, on which the relative questions build."""
    rows, columns = ("top", "middle", "bottom"), ("left", "centre", "right")
    found = []
    for item in scene.items:
        place = f"{rows[item.row]} {columns[item.column]}"
        about = ((item.name, item),)
        found.append(Question("position", f"Where is the {item.name}?", place, about))
        about = ((place, item),)
        found.append(Question("position", f"What is in the {place}?", item.name, about))
    return found


def scene_at(split: Split, index: int) -> Scene:
    return random_scene(rng_for(split, index))


def held_out(count: int) -> list[tuple[int, Question]]:
    """`count` test questions as (scene index, question): the four kinds in turn, one per scene.

    Among the questions of a kind an answer is drawn first, so that frequent answers ("one") do not
    crowd out the others.
    """
    chosen: list[tuple[int, Question]] = []
    index = 0
    while len(chosen) < count:
        kind = KINDS[len(chosen) % len(KINDS)]
        fitting = [q for q in questions(scene_at("test", index)) if q.kind == kind]
        if fitting:
            rng = rng_for("test", (1 << 32) + index)
            answers = sorted({q.answer for q in fitting})
            answer = answers[int(rng.integers(len(answers)))]
            group = [q for q in fitting if q.answer == answer]
            chosen.append((index, group[int(rng.integers(len(group)))]))
        index += 1
    return chosen
