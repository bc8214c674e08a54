"""What a benchmark consists of: its questions, and the rule by which answers are marked."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from imp_deploy.errors import BadInput
from imp_deploy.files import sha256_of
from imp_deploy.image import load_rgb, rgb_of


class Picture(Protocol):
    """`key`: the same for questions about the same picture, and stable from call to call and from
    machine to machine (no absolute path)."""

    @property
    def key(self) -> str: ...

    def digest(self) -> str:
        """Of its content: it differs where the picture does."""
        ...

    def load(self) -> Image.Image:
        """As 8-bit RGB. Raises `BadInput`."""
        ...


@dataclass(frozen=True)
class FilePicture:
    """`key`: the path inside the benchmark's folder."""

    key: str
    path: Path

    def digest(self) -> str:
        return sha256_of(self.path)

    def load(self) -> Image.Image:
        return load_rgb(self.path)


@dataclass(frozen=True)
class Question:
    """`text`: as it is asked, the benchmark's suffix included. `truth`: what the rule needs, as
    JSON can hold it (None: the split comes without answers). `stratum`: what a sample is drawn
    evenly from. `group`: questions that only count together (asked about one image, or with the
    options in another order) and are sampled together; "" for a question on its own. `columns`:
    what a submission repeats of the benchmark's own files, by name."""

    id: str
    text: str
    picture: Picture
    truth: Any
    stratum: str = ""
    group: str = ""
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Marked:
    """An answer with its mark from 0 to 1. `read`: what the rule read out of the answer."""

    question: Question
    answer: str
    mark: float
    read: str


@dataclass(frozen=True)
class Totals:
    """The benchmark's figure, between 0 and the task's `most`, and further ones by name."""

    value: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """`split`: which part of the benchmark the files hold, for instance "val"."""

    split: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark. `data`: what the folder must hold, for help and errors. `read` takes the folder
    and the split asked for (None: the one that is there; more than one is `BadInput` that names
    `--split`). `mark` takes a question and the model's answer (stripped of white space at its ends)
    and returns the mark and what it read; None where only a server or grader can score. `total`:
    None for the plain mean of the marks, in percent; otherwise a question or group that it is given
    twice counts twice. `submission`: the file that a server or grader takes, as name and content;
    None where there is none. A task without `mark` has a submission, or just keeps its answers; one
    with both writes a submission where the truth is unknown. `source`: where rule and prompt are
    defined. `published`: by split, the numbers of questions that its authors' releases have, where
    they are known."""

    name: str
    title: str
    metric: str
    data: str
    source: str
    max_tokens: int
    read: Callable[[Path, str | None], Loaded]
    mark: Callable[[Question, str], tuple[float, str]] | None
    total: Callable[[Sequence[Marked]], Totals] | None = None
    most: float = 100.0
    submission: Callable[[Sequence[tuple[Question, str]]], tuple[str, bytes]] | None = None
    needs_data: bool = True
    published: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def base64_image(text: str, where: str) -> Image.Image:
    """A picture in base64, as RGB; `where` names it in errors."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{where} holds no readable picture ({error}); download it again.") from None
    return rgb_of(io.BytesIO(content), where)
