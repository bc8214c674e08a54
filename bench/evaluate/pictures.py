"""The pictures of an evaluation, as the runner reads them: decoded by Pillow, kept without loss."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from imp_deploy.bench.tasks.task import Picture, Question


@dataclass(frozen=True)
class Asked:
    """A question, and the number of its picture in the order in which they are needed."""

    question: Question
    picture: int


def in_order(questions: Iterable[Question]) -> tuple[Asked, ...]:
    """Questions about the same picture follow each other, in the order of their first: the picture
    is read, brought and encoded once."""
    found: dict[str, list[Question]] = {}
    for question in questions:
        found.setdefault(question.picture.key, []).append(question)
    return tuple(
        Asked(question, number) for number, group in enumerate(found.values()) for question in group
    )


def pictures(asked: Iterable[Asked]) -> dict[int, Picture]:
    """Each once, by its number, in the order of the numbers."""
    found = {one.picture: one.question.picture for one in asked}
    return dict(sorted(found.items()))


def ppm(picture: Picture) -> bytes:
    """Quick to write and to read, for this machine."""
    buffer = io.BytesIO()
    picture.load().save(buffer, format="PPM")
    return buffer.getvalue()


def png(picture: Picture) -> bytes:
    """Small, for the way to a phone; the runner's decoder gives the very same pixels."""
    buffer = io.BytesIO()
    picture.load().save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def archive(wanted: Mapping[int, Picture]) -> bytes:
    """A tar with each picture under its number. The same pictures give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, picture in wanted.items():
            content = png(picture)
            entry = tarfile.TarInfo(str(number))
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
