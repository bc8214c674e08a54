"""A prompt of exactly so many text tokens, the same for our runner and for stock programs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imp_deploy.errors import BadInput
from imp_deploy.prompt import IMAGE


def exactly(prompt: str, tokens: int, count: Callable[[str], int]) -> str:
    """`prompt` with characters of its start dropped, or repeated there, until the texts before and
    behind its image have `tokens` tokens together. `count`: of one text."""
    before, after = prompt.split(IMAGE)
    rest = tokens - count(after)
    long = before
    while count(long) < rest:
        long = before + long
    for start in range(len(long) + 1):
        if count(long[start:]) == rest:
            return long[start:] + IMAGE + after
    raise BadInput(f"The prompt cannot be brought to {tokens} text tokens; ask for another number.")


def counter(llm: Path) -> Callable[[str], int]:
    """Counts tokens as llama.cpp does for the model, special ones read as such, none added."""
    import llama_cpp

    llama_cpp.llama_log_set(_quiet(), None)
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(os.fsencode(llm), parameters)
    if model is None:
        raise BadInput(f"{llm} is not a model that llama.cpp loads; remove it and run again.")
    vocabulary = llama_cpp.llama_model_get_vocab(model)

    def count(text: str) -> int:
        encoded = text.encode()
        none = (llama_cpp.llama_token * 0)()
        # Where there is no room for them, the answer is minus their number.
        room: int = llama_cpp.llama_tokenize(
            vocabulary, encoded, len(encoded), none, 0, False, True
        )
        return -room

    return count


@functools.cache  # llama.cpp keeps the pointer: it must stay alive
def _quiet() -> Any:
    import llama_cpp

    return llama_cpp.llama_log_callback(lambda *_: None)
