"""Multiple choice: how options are shown, and how the letter of one is read from an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Final

LETTERS: Final = ascii_uppercase[:5]  # no benchmark here has more options
_SAID = re.compile("The answer is ([A-Z]).")  # the last is any character
# What MMBench's authors allow before and after a letter that is a word, in the order in which they
# try it (OpenCompass, tools/eval_mmbench.py).
_BARE = ("", "")
_DRESSED = (
    *(("", after) for after in (".", ",", ":", ")", ").")),
    *(("(", after) for after in (")", ").")),
    *((":", after) for after in ("", ",", ".", ":", ")", ").")),
)
_WORDS_WITH_ARTICLE: Final = 3  # in longer answers they take a word "A" for the article


def shown(options: Sequence[str]) -> str:
    """A line per option, as LLaVA-1.5 writes them: "A. ...", "B. ..."."""
    return "\n".join(
        f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)
    )


def direct(answer: str) -> str:
    """The letter as LLaVA reads it for ScienceQA (llava/eval/eval_science_qa.py): the whole answer,
    or what it starts with before ". ", or the one letter that follows "The answer is " and is
    followed by something; "" otherwise. LLaVA then guesses; here an answer without a letter is
    wrong."""
    if answer in tuple(LETTERS):
        return answer
    if answer[:1] in tuple(LETTERS) and answer[1:3] == ". ":
        return answer[0]
    said = _SAID.findall(answer)
    return said[0] if len(said) == 1 and said[0] in LETTERS else ""


def matched(answer: str, options: Sequence[str]) -> str:
    """The letter as MMBench's authors read it before they ask GPT-4 (OpenCompass,
    tools/eval_mmbench.py): the one letter that is a word of the answer, bare or in punctuation, or
    else that of the one option whose text occurs in it; "" otherwise, which is wrong here."""
    words = set(answer.split())
    article = "A" in words and len(answer.split()) > _WORDS_WITH_ARTICLE
    for before, after in (*(() if article else (_BARE,)), *_DRESSED):
        found = [letter for letter in LETTERS if f"{before}{letter}{after}" in words]
        if len(found) == 1:
            return found[0]
    lower = answer.lower()
    named = [
        letter for letter, option in zip(LETTERS, options, strict=False) if option.lower() in lower
    ]
    return named[0] if len(named) == 1 else ""
