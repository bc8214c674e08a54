"""Reads MMBench's tables: a question per row, with its picture in base64 or that of another row."""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from imp_deploy.bench.tasks.task import base64_image
from imp_deploy.errors import BadInput

LETTERS: Final = "ABCD"
TURN: Final = 1_000_000  # added to a question's index for each place that its options are rotated
_NEEDED: Final = ("index", "question", "A", "B", "image")
_SHORTEST_PICTURE: Final = 64  # characters of base64; what is shorter is the index of a row
_CURE: Final = "download it again"
# What pandas, with which the authors and LLaVA read these tables, takes for nothing.
_NOTHING: Final = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)


@dataclass(frozen=True)
class CodedPicture:
    """A picture in base64, decoded when it is asked for. `where` names it in errors."""

    key: str
    coded: str
    where: str

    def digest(self) -> str:
        return hashlib.sha256(self.coded.encode()).hexdigest()

    def load(self) -> Image.Image:
        return base64_image(self.coded, self.where)


@dataclass(frozen=True, kw_only=True)
class Row:
    """`options`: the cells A to D up to the first empty one. `answer`: a letter of theirs, or None.
    `cells`: all columns but the picture's."""

    index: int
    options: tuple[str, ...]
    answer: str | None
    picture: CodedPicture
    cells: Mapping[str, str]

    @property
    def base(self) -> int:
        """The index of the question in the order of options that its authors gave it."""
        return self.index % TURN

    @property
    def turn(self) -> int:
        return self.index // TURN


def nothing(text: str) -> bool:
    """Whether LLaVA (model_vqa_mmbench.py) takes a cell for empty."""
    return text in _NOTHING or text.lower() in ("nan", "none")


def read(path: Path) -> tuple[Row, ...]:
    """All rows in the file's order. Equal pictures are held once."""
    table = dict(_table(path))
    if not table:
        raise BadInput(f"{path} holds no question; {_CURE}.")
    pictures: dict[str, CodedPicture] = {}
    return tuple(_row(path, index, table, pictures) for index in table)


def _table(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    if path.is_dir():
        raise BadInput(f"{path} is a folder where a file should be; {_CURE}.")
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # pictures are long fields
    seen: set[int] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter="\t")
            names = next(lines, [])
            if lacking := [name for name in _NEEDED if name not in names]:
                raise BadInput(
                    f"{path} is no table of MMBench: it lacks the columns {', '.join(lacking)}; "
                    f"{_CURE}."
                )
            for fields in filter(None, lines):
                where = f"{path}, line {lines.line_num}"
                if len(fields) != len(names):
                    raise BadInput(
                        f"{where} has {len(fields)} columns instead of {len(names)}; {_CURE}."
                    )
                row = dict(zip(names, fields, strict=True))
                if not (row["index"].isascii() and row["index"].isdigit()):
                    raise BadInput(f"{where} has no usable `index`; {_CURE}.")
                index = int(row["index"])
                if index in seen:
                    raise BadInput(f"{path} holds the question {index} twice; {_CURE}.")
                seen.add(index)
                yield index, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read ({error}); {_CURE}.") from None
    finally:
        csv.field_size_limit(before)


def _row(
    path: Path, index: int, table: dict[int, dict[str, str]], pictures: dict[str, CodedPicture]
) -> Row:
    cells = table[index]
    where = f"{path}: question {index}"
    options: list[str] = []
    for letter in LETTERS:
        if not cells.get(letter):
            break
        options.append(cells[letter])
    if len(options) < 2:
        raise BadInput(f"{where} has fewer than two options; {_CURE}.")
    answer = cells.get("answer") or None
    if answer is not None and answer not in tuple(LETTERS[: len(options)]):
        raise BadInput(f"{where} has the answer {answer}, which is none of its options; {_CURE}.")
    coded = cells["image"]
    if coded.isascii() and coded.isdigit() and len(coded) < _SHORTEST_PICTURE:
        if int(coded) not in table:
            raise BadInput(
                f"{where} has the picture of question {coded}, which is not there; {_CURE}."
            )
        coded = table[int(coded)]["image"]
    if len(coded) < _SHORTEST_PICTURE:
        raise BadInput(f"{where} has no usable `image`; {_CURE}.")
    key = hashlib.sha256(coded.encode()).hexdigest()[:16]
    return Row(
        index=index,
        options=tuple(options),
        answer=answer,
        picture=pictures.setdefault(key, CodedPicture(key, coded, where)),
        cells={name: cell for name, cell in cells.items() if name != "image"},
    )
