"""The runner preprocesses pictures itself: libmtmd's own way does not suit every Imp checkpoint.

What comes out must be what the model was trained on: Pillow's pixels, to the last bit.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.native.jobs import Runner, Value
from tests.native.pixels import by_pillow, draw

EDGES = [(1, 1), (1, 2), (2, 1), (1, 500), (500, 1), (3, 1000), (1000, 3)]
SIDES = [
    (196, 196),
    (384, 384),
    (196, 300),
    (300, 196),
    (384, 100),
    (100, 384),
    (197, 195),
    (195, 197),
]
PHOTOS = [(640, 480), (480, 640), (333, 500), (1921, 1080)]


def sizes() -> list[tuple[int, int]]:
    """Widths and heights: single pixels, lines, the model's own sides, photos, and random ones."""
    chance = random.Random(196)
    drawn = [
        (round(10 ** chance.uniform(0, 3)), round(10 ** chance.uniform(0, 3))) for _ in range(24)
    ]
    return EDGES + SIDES + PHOTOS + drawn


@pytest.mark.parametrize("mode", ["squash", "pad"])
def test_pixels_are_pillows(runner: Runner, mode: str) -> None:
    """Otherwise the model sees another picture than the one it was trained and evaluated on."""
    for side in runner.visual_tokens:
        steps: list[dict[str, Value]] = []
        expected: dict[Path, bytes] = {}
        for index, (width, height) in enumerate(sizes()):
            name = f"{side}-{index}-{width}x{height}"
            path, pixels = runner.folder / f"{name}.png", runner.folder / f"{name}.rgb"
            picture = draw(width, height, seed=index)
            picture.save(path)
            expected[pixels] = by_pillow(picture, side, mode).tobytes()
            step = runner.step(name, path, mode=mode, max_tokens=0, pixels=pixels)
            steps.append({**step, "side": side})
        lines = runner.run(steps, runner.job(side))
        assert [line["status"] for line in lines] == ["ok"] * len(steps)
        different = [path.stem for path in expected if path.read_bytes() != expected[path]]
        assert different == []


def test_lossless_files_are_decoded_as_by_pillow(runner: Runner) -> None:
    """Otherwise the answer depends on the format in which a picture happens to be saved."""
    colour = draw(50, 40, seed=1)
    transparent = colour.copy()
    transparent.putalpha(Image.linear_gradient("L").resize(colour.size))
    files = {
        "rgb.png": colour,
        "rgba.png": transparent,
        "grey.png": colour.convert("L"),
        "palette.png": colour.quantize(64),
        "rgb.bmp": colour,
        "rgb.ppm": colour,
        "palette.gif": colour.quantize(64),
    }
    for name, picture in files.items():
        picture.save(runner.folder / name)
    steps = [
        runner.step(name, runner.folder / name, max_tokens=0, pixels=runner.folder / f"{name}.rgb")
        for name in files
    ]
    runner.run(steps)
    for name in files:
        with Image.open(runner.folder / name) as picture:
            pixels = by_pillow(picture.convert("RGB"), runner.side, "squash").tobytes()
        assert (runner.folder / f"{name}.rgb").read_bytes() == pixels, name


@pytest.mark.parametrize("first", [0, 10, 13, 32, 255])
def test_pictures_that_begin_like_white_space(runner: Runner, first: int) -> None:
    """Behind the header of a PPM comes one byte of white space, and then pixels that may look like
    more of it."""
    picture = draw(50, 40, seed=first)
    picture.paste((first, first, first), (0, 0, 9, 2))
    for ending in ("ppm", "png"):
        picture.save(runner.folder / f"picture.{ending}")
    steps = [
        runner.step(ending, runner.folder / f"picture.{ending}", pixels=runner.folder / ending)
        for ending in ("ppm", "png")
    ]
    runner.run(steps)
    assert (runner.folder / "ppm").read_bytes() == (runner.folder / "png").read_bytes()


def test_a_ppm_that_was_cut_off_is_no_picture(runner: Runner) -> None:
    whole = runner.folder / "whole.ppm"
    draw(50, 40, seed=1).save(whole)
    cut = runner.folder / "cut.ppm"
    for size in (3, 10, 2000, 6012):
        cut.write_bytes(whole.read_bytes()[:size])
        [line] = runner.run([runner.step("1", cut)])
        assert (line["status"], line["kind"]) == ("error", "image")


def test_the_model_sees_the_saved_pixels(runner: Runner) -> None:
    """Otherwise libmtmd changes the picture once more, and a parity check compares another one."""
    draw(311, 97, seed=2).save(runner.folder / "wide.png")
    pixels, first, second = (runner.folder / name for name in ("pixels", "first", "second"))
    runner.run(
        [runner.step("1", runner.folder / "wide.png", mode="pad", pixels=pixels, embeddings=first)]
    )
    square = Image.frombytes("RGB", (runner.side, runner.side), pixels.read_bytes())
    square.save(runner.folder / "square.png")
    runner.run([runner.step("2", runner.folder / "square.png", embeddings=second)])
    assert first.read_bytes() == second.read_bytes()
    embeddings = np.frombuffer(first.read_bytes(), dtype="<f4").reshape(
        runner.visual_tokens[runner.side], -1
    )
    assert np.isfinite(embeddings).all()
    assert embeddings.std() > 0


def test_a_side_that_the_mmproj_does_not_take_is_refused(runner: Runner) -> None:
    """Otherwise libmtmd silently resizes the picture a second time, and the answers get worse."""
    draw(20, 20, seed=3).save(runner.folder / "picture.png")
    [line] = runner.run([runner.step("1", runner.folder / "picture.png", side=runner.side + 14)])
    assert (line["status"], line["kind"]) == ("error", "image")
    assert str(runner.side) in line["message"]
