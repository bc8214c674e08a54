"""Pictures from users: decoded by Pillow, checked, and given to the runner without loss.

Pillow is what the checkpoints were trained and are evaluated with, and its JPEG decoder differs
from the runner's own in single grey levels.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from imp_deploy.errors import BadInput
from imp_deploy.files import full_disk_is_bad_input

MAX_PIXELS = 178_956_970  # where Pillow itself refuses to go on
# Formats in which 32-bit pixels are 16-bit grey: Pillow before version 11 opens them so.
_GREY_16 = ("PNG", "PPM")
_COLOUR = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")


def load_rgb(path: Path) -> Image.Image:
    """The picture as 8-bit RGB. Transparency is dropped and EXIF rotation ignored, as in training;
    16-bit grey is scaled. Everything that has no single right reading is bad input."""
    _check_file(path)
    return rgb_of(path, str(path))


def rgb_of(source: Path | BinaryIO, path: str) -> Image.Image:
    """`load_rgb` of a file that is there, or of the content of one; `path` names it in errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd files; where it matters, an error follows
        try:
            with Image.open(source) as image:
                _check(image, path)
                return _to_rgb(image, path)
        except BadInput:
            raise
        except (Image.DecompressionBombError, MemoryError):
            raise _too_large(path) from None
        except UnidentifiedImageError:
            raise BadInput(
                f"{path} is not a picture in a format that Pillow reads; save it as PNG or JPEG."
            ) from None
        except PermissionError:
            raise BadInput(f"The image {path} may not be read; change its rights.") from None
        except Exception as error:  # whatever a decoder meets in a foreign file
            raise BadInput(
                f"The image {path} is truncated or damaged ({error}); copy it again."
            ) from None


def _check_file(path: Path) -> None:
    try:
        there, folder, size = path.exists(), path.is_dir(), path.stat().st_size
    except (OSError, ValueError):
        there = folder = False
    if folder:
        raise BadInput(f"The image {path} is a folder; give a picture file.")
    if not there:
        raise BadInput(f"The image {path} does not exist; check the path.")
    if not path.is_file():
        raise BadInput(f"The image {path} is not a regular file; give a picture file.")
    if size == 0:
        raise BadInput(f"The image {path} is empty (0 bytes); copy it again.")


def _too_large(path: str) -> BadInput:
    return BadInput(
        f"The image {path} claims more than {MAX_PIXELS / 1e6:.0f} megapixels; scale it down."
    )


def _check(image: Image.Image, path: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path)
    if image.width < 1 or image.height < 1:
        raise BadInput(f"The image {path} is {image.width} x {image.height} pixels; copy it again.")
    if image.format in ("EPS", "WMF"):  # Pillow would start another program to draw them
        raise BadInput(f"{path} is a vector drawing ({image.format}); save it as PNG.")
    # MPO is a camera's JPEG with a second picture, for depth or a preview, behind the one meant.
    frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
    if frames > 1:
        raise BadInput(
            f"The image {path} holds {frames} frames (it is animated, or has pages); save the one "
            "that you mean as PNG."
        )


def _to_rgb(image: Image.Image, path: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _GREY_16):
        # Pillow would clip 16-bit grey to 255 and show white.
        grey = np.clip(np.asarray(image), 0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode not in _COLOUR:
        raise BadInput(
            f"The image {path} has pixels of the kind {image.mode}, which have no one colour; save "
            "it as 8-bit PNG."
        )
    return image.convert("RGB")


def squash(image: Image.Image, side: int) -> Image.Image:
    """`image` resized to side x side, bicubic with antialiasing.

    Rows first, then columns, in two calls: Pillow did so in one call when Imp was trained, and
    since version 12 turns the order round for tall pictures, which changes grey levels.
    """
    rows = image.resize((side, image.height), Image.Resampling.BICUBIC)
    return rows.resize((side, side), Image.Resampling.BICUBIC)


def write_ppm(image: Image.Image, path: Path) -> None:
    """Binary PPM: the plainest lossless format that the runner's decoder reads."""
    with full_disk_is_bad_input(path):
        image.save(path, format="PPM")
