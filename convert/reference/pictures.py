"""From a picture to the tower's input, as the models were trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from imp_deploy.image import squash

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    Floats = NDArray[np.float32]

Mode = Literal["squash", "pad"]
Three = tuple[float, float, float]


@dataclass(frozen=True)
class Colours:
    """What a tower takes off its input, and divides by, per channel; in 0..1."""

    mean: Three
    std: Three

    @property
    def pad(self) -> tuple[int, int, int]:
        """The colour around a padded picture: the mean, cut off to whole grey levels as LLaVA's
        training code does."""
        red, green, blue = (int(value * 255) for value in self.mean)
        return red, green, blue


# The preprocessor_config.json of google/siglip-so400m-patch14-384 and of
# openai/clip-vit-large-patch14-336.
SIGLIP = Colours((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = Colours((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def preprocess(image: Image.Image, side: int, mode: Mode, colours: Colours = SIGLIP) -> Floats:
    """Pixels [3, side, side], normalised. `pad`: the mean colour to a square first, image in the
    middle."""
    from PIL import Image

    image = image.convert("RGB")
    if mode == "pad":
        longest = max(image.size)
        square = Image.new("RGB", (longest, longest), colours.pad)
        square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
        image = square
    mean, std = (np.asarray(three, dtype=np.float32) for three in (colours.mean, colours.std))
    pixels = (np.asarray(squash(image, side), dtype=np.float32) / 255 - mean) / std
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
