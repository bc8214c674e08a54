"""Pictures from users: those with one right reading work, the others are refused in a sentence."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imp_deploy.errors import BadInput
from imp_deploy.image import MAX_PIXELS, load_rgb, write_ppm
from tests.small import one_sentence

WIDTH, HEIGHT = 7, 5


def colours() -> Image.Image:
    chance = np.random.default_rng(0)
    return Image.fromarray(chance.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def read(folder: Path, content: bytes) -> Any:
    """[height, width, 3] of the file with this content; its name says nothing about its format."""
    path = folder / "picture"
    path.write_bytes(content)
    image = load_rgb(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_rgb(path)
    message = str(caught.value)
    assert one_sentence(message), message
    assert [part for part in (str(path), *parts) if part not in message] == [], message


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "TGA", "GIF"])
def test_lossless_formats(kind: str, tmp_path: Path) -> None:
    """The same pixels are the same question, however they are stored."""
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    assert (read(tmp_path, encoded(colours(), kind, **options)) == np.asarray(colours())).all()


def test_jpeg_is_pillows(tmp_path: Path) -> None:
    """The checkpoints were trained on what Pillow makes of a JPEG."""
    content = encoded(colours(), "JPEG")
    assert (read(tmp_path, content) == np.asarray(Image.open(io.BytesIO(content)))).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_one_pixel(size: tuple[int, int], tmp_path: Path) -> None:
    """Tiny, but a picture."""
    assert read(tmp_path, encoded(Image.new("RGB", size, (1, 2, 3)), "PNG"))[0, 0].tolist() == [
        *(1, 2, 3)
    ]


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey(mode: str, tmp_path: Path) -> None:
    """Three equal channels, not one channel that the tower cannot take."""
    image = colours().convert(mode)
    expected = np.asarray(image.convert("L"))
    assert (read(tmp_path, encoded(image, "PNG")) == expected[..., None]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits(kind: str, tmp_path: Path) -> None:
    """Pillow's own conversion clips at 255: the picture would be white."""
    wide = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 1872
    content = encoded(Image.fromarray(wide), kind)
    found = read(tmp_path, content)
    assert (found == (wide >> 8).astype(np.uint8)[..., None]).all()
    assert found.max() > 240
    assert found.min() == 0


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG that Pillow itself would not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("colour", [2, 6])
def test_colour_of_16_bits(colour: int, tmp_path: Path) -> None:
    """Cameras and editors save them."""
    pixel = struct.pack(">4H", 0x1234, 0x8000, 0xFEDC, 0xFFFF)[: 6 if colour == 2 else 8]
    found = read(tmp_path, png(2, 1, 16, colour, b"\0" + 2 * pixel))
    assert found.tolist() == [[[0x12, 0x80, 0xFE]] * 2]


@pytest.mark.parametrize("transparency", [None, 0])
def test_palette(transparency: int | None, tmp_path: Path) -> None:
    """Indices are no brightnesses; a transparent index keeps its colour, as in training."""
    image = colours().quantize(16)
    options = {} if transparency is None else {"transparency": transparency}
    expected = np.asarray(image.convert("RGB"))
    assert (read(tmp_path, encoded(image, "PNG", **options)) == expected).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_dropped(mode: str, tmp_path: Path) -> None:
    """Colours behind the transparency are what the checkpoints saw: not blended with black."""
    image = colours().convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    expected = np.asarray(colours() if mode == "RGBA" else colours().convert("L").convert("RGB"))
    assert (read(tmp_path, encoded(image, "PNG")) == expected).all()


def test_cmyk(tmp_path: Path) -> None:
    """Print shops' JPEGs: four channels, of which the first three are not red, green and blue."""
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    found = read(tmp_path, encoded(image, "JPEG", quality=100))
    assert np.abs(found.astype(int) - [255, 0, 0]).max() <= 3


def test_rotation_is_ignored(tmp_path: Path) -> None:
    """The checkpoints were trained on the pixels as they are stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read(tmp_path, encoded(colours(), "PNG", exif=exif)).shape == (HEIGHT, WIDTH, 3)


def test_phone_picture_with_a_second_picture_inside(tmp_path: Path) -> None:
    """Phones put a depth map behind the JPEG: no animation, the first picture is meant."""
    content = encoded(colours(), "MPO", save_all=True, append_images=[Image.new("RGB", (3, 3))])
    assert Image.open(io.BytesIO(content)).n_frames == 2  # type: ignore[attr-defined]
    assert read(tmp_path, content).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animation(kind: str, tmp_path: Path) -> None:
    """Which frame is meant, only the user knows."""
    others = [colours().rotate(180), colours().rotate(90)]
    content = encoded(colours(), kind, save_all=True, append_images=others)
    (tmp_path / "a").write_bytes(content)
    refused(tmp_path / "a", "3 frames", "save the one that you mean")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_truncated(kind: str, part: float, tmp_path: Path) -> None:
    """Half of a picture, the rest grey, would be answered as if it were the whole."""
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))
    content = encoded(image, kind)
    (tmp_path / "half").write_bytes(content[: int(len(content) * part)])
    refused(tmp_path / "half")


def huge(kind: str) -> bytes:
    """A few bytes that claim billions of pixels."""
    if kind == "PNG":
        return png(60_000, 60_000, 8, 2, b"")
    if kind == "GIF":
        return b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0," + b"\0" * 20
    if kind == "BMP":
        return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**30, 8, 1, 24, *[0] * 6)
    if kind == "PPM":
        return b"P6 100000 100000 255\n" + b"\0" * 30
    small = bytearray(encoded(colours(), "JPEG"))
    at = small.index(b"\xff\xc0") + 5
    small[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(small)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "PPM", "JPEG"])
def test_decompression_bomb(kind: str, tmp_path: Path) -> None:
    """A tiny file must not fill the memory."""
    (tmp_path / "bomb").write_bytes(huge(kind))
    refused(tmp_path / "bomb", "megapixels", "scale it down")


def test_largest_picture_is_the_runners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is let through here must not be refused by the runner, with a worse message; Pillow's
    own limit can be switched off by any other library."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    native = Path(__file__).parents[1] / "native" / "src" / "preprocess.h"
    assert f"max_pixels = {MAX_PIXELS};" in native.read_text()
    (tmp_path / "a").write_bytes(png(MAX_PIXELS // 10 + 1, 10, 8, 0, b""))
    refused(tmp_path / "a", "megapixels")


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_no_pixels(size: tuple[int, int], tmp_path: Path) -> None:
    """A division by zero waits in every resize."""
    (tmp_path / "none").write_bytes(png(*size, 8, 2, b"\0"))
    refused(tmp_path / "none")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\0" * 100, id="zeros"),
        pytest.param(b"What is in the picture?\n", id="text"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg' width='5' height='5'/>", id="SVG"),
        pytest.param(b"<!DOCTYPE html><title>404</title>", id="HTML"),
        pytest.param(b"%PDF-1.7\n", id="PDF"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", id="LFS pointer"),
    ],
)
def test_files_that_are_no_pictures(content: bytes, tmp_path: Path) -> None:
    """A renamed file or an error page of a web server."""
    (tmp_path / "picture.png").write_bytes(content)
    refused(tmp_path / "picture.png", "not a picture", "save it as PNG or JPEG")


def test_vector_drawing(tmp_path: Path) -> None:
    """Pillow would start Ghostscript on the file."""
    (tmp_path / "a.eps").write_bytes(encoded(colours(), "EPS"))
    refused(tmp_path / "a.eps", "vector drawing", "save it as PNG")


@pytest.mark.parametrize("values", [np.float32, np.int32])
def test_measurements(values: type, tmp_path: Path) -> None:
    """Floats and 32-bit integers have no brightness that everyone agrees on."""
    image = Image.fromarray(np.ones((4, 4), values))
    (tmp_path / "a.tiff").write_bytes(encoded(image, "TIFF"))
    refused(tmp_path / "a.tiff", "save it as 8-bit PNG")


def test_no_file(tmp_path: Path) -> None:
    """A mistyped path is the most common mistake."""
    refused(tmp_path / "none.png", "does not exist")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "empty (0 bytes)")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop", "does not exist")
    refused(Path("x" * 5000), "does not exist")


def test_path_of_any_name(tmp_path: Path) -> None:
    """Names are not part of the question."""
    path = tmp_path / "my [new] picture\n:x: ü 图.txt"
    path.write_bytes(encoded(colours(), "PNG"))
    assert load_rgb(path).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO"])
def test_damaged(kind: str, tmp_path: Path) -> None:
    """Whatever a decoder stumbles over, the user reads a sentence."""
    content, chance = encoded(colours(), kind), random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 3, 9))):
            damaged[chance.randrange(min(len(damaged), 120))] = chance.randrange(256)
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            load_rgb(tmp_path / "damaged")
        except BadInput as error:
            message = str(error)
        else:
            continue
        assert one_sentence(message), message


def test_written_without_loss(tmp_path: Path) -> None:
    """The runner must see the pixels that Pillow read."""
    write_ppm(colours(), tmp_path / "a.ppm")
    assert (np.asarray(load_rgb(tmp_path / "a.ppm")) == np.asarray(colours())).all()
