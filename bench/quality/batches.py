"""The questions in an order and in portions that bound what lies on the disk at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from imp_deploy.bench.evaluate.pictures import ppm
from imp_deploy.bench.quality.pairs import Pair
from imp_deploy.bench.tasks.task import Question

# Two batches lie there at a time: one that the runner works on, one that is being read.
BATCH_BYTES: Final = 128 << 20
_FLOAT = 4


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`sha256` and `bytes`: of the decoded picture, as binary PPM."""

    question: Question
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Questions that are asked, read and kept together; those about one picture are neighbours."""

    index: int
    asked: tuple[Asked, ...]

    @property
    def pictures(self) -> dict[str, Asked]:
        """The first question about each picture, by the picture's hash."""
        found: dict[str, Asked] = {}
        for asked in self.asked:
            found.setdefault(asked.sha256, asked)
        return found


def look(questions: Sequence[Question], advance: Callable[[int], None]) -> tuple[Asked, ...]:
    """Decodes every picture once, so that an unreadable one is known before anything is computed.
    Questions about one picture come together, where the first of them was."""
    known: dict[str, tuple[str, int]] = {}
    found: dict[str, list[Asked]] = {}
    for question in questions:
        key = question.picture.key
        if key not in known:
            content = ppm(question.picture)
            known[key] = hashlib.sha256(content).hexdigest(), len(content)
        sha256, size = known[key]
        asked = Asked(question=question, sha256=sha256, bytes=size)
        found.setdefault(sha256, []).append(asked)
        advance(1)
    return tuple(asked for group in found.values() for asked in group)


def batches(
    asked: Sequence[Asked], pair: Pair, max_tokens: int, limit: int = BATCH_BYTES
) -> tuple[Batch, ...]:
    """At most `limit` bytes of pictures, embeddings and logits each, or a single question."""
    logits = max_tokens * pair.vocabulary * _FLOAT
    embeddings = pair.reference.visual_tokens * pair.hidden * _FLOAT
    portions: list[list[Asked]] = []
    size = 0
    for entry in asked:
        more = logits
        if not portions or portions[-1][-1].sha256 != entry.sha256:
            more += entry.bytes + embeddings
        if not portions or size + more > limit:
            portions.append([])
            size = 0
            more = logits + entry.bytes + embeddings
        portions[-1].append(entry)
        size += more
    return tuple(Batch(index=i, asked=tuple(portion)) for i, portion in enumerate(portions))
