"""Pictures that show rounding, and the square that a vision tower should see of them."""

from __future__ import annotations

import numpy as np
from PIL import Image

GREY = (127, 127, 127)  # int(mean * 255) of SigLIP, whose mean is 0.5


def draw(width: int, height: int, seed: int) -> Image.Image:
    """A picture that shows rounding and clipping: noise, a ramp, and hard black-and-white edges."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    x, y = np.arange(width), np.arange(height)[:, None]
    noise[..., 1] = (x * 7 + y * 3) % 256
    noise[..., 2] = np.where((x // 3 + y // 5) % 2, 255, 0)
    return Image.fromarray(noise)


def by_pillow(
    picture: Image.Image, side: int, mode: str, colour: tuple[int, int, int] = GREY
) -> Image.Image:
    """The square that the model's own preprocessing gave, with the Pillow of its time.

    Pillow 13 begins with the columns for many tall pictures, and rounds differently then. A call
    for each axis gives the order of rows and columns that `Image.resize` had up to Pillow 11.
    """
    if mode == "pad":
        longest = max(picture.size)
        square = Image.new("RGB", (longest, longest), colour)
        square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
        picture = square
    narrowed = picture.resize((side, picture.height), Image.Resampling.BICUBIC)
    return narrowed.resize((side, side), Image.Resampling.BICUBIC)
