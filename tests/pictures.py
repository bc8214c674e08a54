"""Pictures of every kind that `verify` must pass on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Coloured blobs with structure at every scale; RGB."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height))
    for cells in (3, 9, 40):
        small = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        layer = small.resize((width, height), Image.Resampling.BICUBIC)
        image = Image.blend(image, layer, 0.5)
    return image


def write_all(folder: Path) -> dict[str, Path]:
    """Landscape, portrait, tiny, grey, RGBA and palette pictures, by kind."""
    landscape = noise(500, 333)
    alpha = Image.linear_gradient("L").resize((301, 203))
    rgba = noise(301, 203, 3)
    rgba.putalpha(alpha)
    pictures = {
        "landscape": landscape,
        "portrait": noise(211, 487, 1),
        "tiny": noise(5, 3, 2),
        "grey": noise(320, 240, 4).convert("L"),
        "rgba": rgba,
        "palette": noise(250, 250, 5).convert("P", palette=Image.Palette.ADAPTIVE),
    }
    paths = {}
    for kind, picture in pictures.items():
        paths[kind] = folder / f"{kind}.png"
        picture.save(paths[kind])
    return paths
