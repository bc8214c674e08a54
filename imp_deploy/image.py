"""Pictures from users: decoded by Pillow, checked, and given to the runner without loss.

Pillow is what the checkpoints were trained and are evaluated with, and its JPEG decoder differs
from the runner's own in single grey levels.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from imp_deploy.errors import BadInput

MAX_PIXELS = 178_956_970  # where Pillow itself refuses to go on


def load_rgb(path: Path) -> Image.Image:
    """The picture as 8-bit RGB. Transparency is dropped and EXIF rotation ignored, as in training;
    16-bit grey is scaled. Everything that has no single right reading is bad input."""
    if not path.is_file():
        raise BadInput(f"The image {path} does not exist; check the path.")
    if path.stat().st_size == 0:
        raise BadInput(f"The image {path} is empty (0 bytes); copy it again.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                _check(image, path)
                return _to_rgb(image, path)
        except Image.DecompressionBombError:
            raise _too_large(path) from None
        except UnidentifiedImageError:
            raise BadInput(
                f"{path} is not a picture in a format that Pillow reads; save it as PNG or JPEG."
            ) from None
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise BadInput(
                f"The image {path} is truncated or damaged ({error}); copy it again."
            ) from None


def _too_large(path: Path) -> BadInput:
    return BadInput(
        f"The image {path} claims more than {MAX_PIXELS / 1e6:.0f} megapixels; scale it down."
    )


def _check(image: Image.Image, path: Path) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path)
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise BadInput(
            f"The image {path} is animated ({frames} frames); save the frame that you mean as PNG."
        )


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        # Pillow would clip 16-bit grey to 255 and show white.
        return Image.fromarray((np.clip(grey, 0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise BadInput(f"The image {path} holds floating-point values; save it as 8-bit PNG.")
    return image.convert("RGB")


def write_ppm(image: Image.Image, path: Path) -> None:
    """Binary PPM: the plainest lossless format that the runner's decoder reads."""
    image.save(path, format="PPM")
