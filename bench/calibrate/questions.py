"""What a bundle is asked while it is watched: pictures of the user's, and questions about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from imp_deploy.bench.tasks.folder import ENDINGS, pictures_in
from imp_deploy.bench.tasks.task import FilePicture, Question
from imp_deploy.errors import BadInput

_SHORT: Final = "Answer the question using a single word or phrase."
# Of every kind that benchmarks and users ask: long and short answers, counting, reading, places.
QUESTIONS: Final = (
    "Describe this picture in detail.",
    f"What is the main object in the picture?\n{_SHORT}",
    "What colours do you see, and what has them?",
    f"How many objects are there?\n{_SHORT}",
    "Read all text in the picture. If there is none, say so.",
    "Where are the things in this picture, relative to each other?",
    f"Is there a person in the picture?\n{_SHORT}",
    "What could have happened just before this picture was taken?",
)


def questions(images: Path, prompts: Path | None, limit: int | None) -> tuple[Question, ...]:
    """The pictures below the folder `images` in the order of their names, or `limit` of them spread
    evenly over that order, and the lines of the file `prompts` (None: `QUESTIONS`), both repeated
    in turn until each was used once: with more pictures than prompts, one question per picture;
    with as many of both, the n-th line about the n-th picture."""
    texts = QUESTIONS if prompts is None else _lines(prompts)
    found = _pictures(images)
    if limit is not None and limit < len(found):
        found = [found[place * len(found) // limit] for place in range(limit)]
    return tuple(
        _question(found[number % len(found)], texts, number)
        for number in range(max(len(found), len(texts)))
    )


def _question(picture: FilePicture, texts: Sequence[str], number: int) -> Question:
    place = number % len(texts)
    return Question(id=f"{picture.key}#{place + 1}", text=texts[place], picture=picture, truth=None)


def _pictures(images: Path) -> list[FilePicture]:
    if not images.exists():
        raise BadInput(f"{images} does not exist; give --images a folder of pictures.")
    if not images.is_dir():
        raise BadInput(f"{images} is a file; give --images a folder of pictures.")
    found = pictures_in(images)
    if not found:
        raise BadInput(
            f"{images} holds no picture ({', '.join(ENDINGS)}); put some there, or give --images "
            "another folder."
        )
    return found


def _lines(path: Path) -> tuple[str, ...]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path} cannot be read ({error}); give --prompts a text file with a question on each "
            "line."
        ) from None
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if not lines:
        raise BadInput(f"{path} holds no question; put one on each line, or leave --prompts out.")
    return tuple(lines)
