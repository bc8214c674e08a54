"""The picture that is measured with when the user gives none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_WIDTH, _HEIGHT = 640, 480  # as most photographs of COCO, which the benchmarks of the paper use


def default_picture() -> Image.Image:
    """RGB, 640 x 480: slopes with fine structure on top. Integers only, because its hash is part of
    the protocol, and sines differ in the last bit between processors."""
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    planes = [
        (_triangle(x, 150 + 50 * c) + _triangle(y, 110 + 30 * c) + _triangle(x + y, 7 + c) // 2)
        for c in range(3)
    ]
    return Image.fromarray((np.stack(planes, axis=-1) * 255 // 320).astype(np.uint8))


def _triangle(places: NDArray[Any], period: int) -> NDArray[Any]:
    """A wave between 0 and 128."""
    height: NDArray[Any] = np.abs(places % (2 * period) - period)
    return height * 128 // period
