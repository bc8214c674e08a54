"""What LLaVA-1.5 writes after a question, which Imp follows (LLaVA, docs/Evaluation.md, and the
question files that it publishes)."""

from __future__ import annotations

from typing import Final

SHORT: Final = "Answer the question using a single word or phrase."
VIZWIZ: Final = (
    "When the provided information is insufficient, respond with 'Unanswerable'.\n" + SHORT
)
LETTER: Final = "Answer with the option's letter from the given choices directly."
LETTER_CN: Final = "请直接回答选项字母。"


def with_suffix(question: str, suffix: str) -> str:
    """`question`, a line end, `suffix`; as it is if it already ends so, as LLaVA's files do. Blanks
    at the end of the question stay: LLaVA's files have them too."""
    return question if question.endswith("\n" + suffix) else f"{question}\n{suffix}"
