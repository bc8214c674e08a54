"""Tables and texts of Markdown, in which nothing from outside is markup."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Container[str] = ()) -> str:
    """`head` is Markdown, the cells of `rows` are not. Columns whose title is in `numbers` are
    aligned to the right."""
    rule = ("---:" if name in numbers else "---" for name in head)
    lines = [tuple(head), tuple(rule), *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(value: str) -> str:
    """`value` as Markdown shows it literally, on one line."""
    flat = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", value).strip()
    return re.sub(r"([\\`*_\[\]<>|~#&])", r"\\\1", flat)


def code(value: str) -> str:
    return re.sub(r"[`|\s\x00-\x1f\x7f-\x9f]+", " ", value)
