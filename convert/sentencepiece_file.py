"""Pieces of a SentencePiece `tokenizer.model`, read without its library.

The file is a protobuf message; only its first field is needed: `repeated SentencePiece pieces = 1`
with `piece = 1` (string), `score = 2` (float), `type = 3` (enum), as in the project's
`sentencepiece_model.proto`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gguf import TokenType

from imp_deploy.errors import BadInput

_TYPES = {
    1: TokenType.NORMAL,
    2: TokenType.UNKNOWN,
    3: TokenType.CONTROL,
    4: TokenType.USER_DEFINED,
    5: TokenType.UNUSED,
    6: TokenType.BYTE,
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Piece:
    text: str
    score: float
    type: TokenType


def read_pieces(path: Path) -> list[Piece]:
    try:
        pieces = [_piece(value) for field, value in _fields(path.read_bytes()) if field == 1]
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); check its rights.") from None
    except (IndexError, struct.error, KeyError, ValueError):
        raise BadInput(
            f"{path} is damaged or not a SentencePiece model; download it again."
        ) from None
    if not pieces:
        raise BadInput(f"{path} holds no pieces; download it again.")
    return pieces


def _piece(message: int | bytes) -> Piece:
    if isinstance(message, int):
        raise ValueError("a piece is a message")
    values = dict(_fields(message))
    text, score = values[1], values.get(2, b"\0\0\0\0")
    if isinstance(text, int) or not text or isinstance(score, int):
        raise ValueError("wrong field types")
    kind = values.get(3, 1)
    if not isinstance(kind, int):
        raise ValueError("wrong field types")
    number = struct.unpack("<f", score)[0]
    if not math.isfinite(number):
        raise ValueError("a score is a number")
    return Piece(text.decode("utf-8"), number, _TYPES[kind])


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of one message: an int for varints, else the raw bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            number, at = _varint(data, at)
            yield key >> 3, number
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(data):
            raise ValueError("truncated")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):  # ten bytes hold the longest number
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("a number without end")
