"""One answer of stock `llama-mtmd-cli`, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy import process
from imp_deploy.bench import stock
from imp_deploy.bench.speed import stock_log
from imp_deploy.errors import DeviceError
from imp_deploy.prompt import IMAGE

_MARKER = "<__media__>"  # what libmtmd replaces by the picture
_AS_IT_IS = "{{ messages[0].content }}"  # the whole prompt is ours: no template adds to it
_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Question:
    """Files, a picture, the whole prompt, and how many tokens are generated whatever they are."""

    llm: Path
    mmproj: Path
    picture: Path
    prompt: str
    tokens: int


def ask(question: Question) -> stock_log.StockTimes:
    """With the program's own defaults for everything that costs time. Another try where the end of
    its log is lost."""
    for _ in range(_TRIES):
        times = stock_log.times(_log(question), question.tokens)
        if times is not None:
            return times
    raise DeviceError(f"llama-mtmd-cli lost the end of its log {_TRIES} times; run it again.")


def look(question: Question) -> tuple[int, int]:
    """(text and visual tokens of the prompt, threads) as the program itself counts them."""
    for _ in range(_TRIES):
        log = _log(question, "--perf", "--verbosity", "5")
        tokens, threads = stock_log.prompt_tokens(log), stock_log.threads(log)
        if tokens is not None and threads is not None:
            return tokens, threads
    raise DeviceError(f"llama-mtmd-cli lost the end of its log {_TRIES} times; run it again.")


def _log(question: Question, *more: str) -> str:
    finished = process.run(
        [str(stock.program("llama-mtmd-cli")), *arguments(question), *more],
        environment={**os.environ, stock_log.MARKER_VARIABLE: stock_log.MARKER},
    )
    if finished.returncode != 0:
        raise DeviceError(f"llama-mtmd-cli failed: {finished.evidence()}")
    return finished.stdout


def arguments(question: Question) -> Sequence[str]:
    """Only what is asked; nothing that says how it is computed. The answer is greedy on both
    sides."""
    return [
        *("-m", str(question.llm), "--mmproj", str(question.mmproj)),
        *("--image", str(question.picture), "-p", question.prompt.replace(IMAGE, _MARKER)),
        *("--jinja", "--chat-template", _AS_IT_IS, "--no-escape"),
        *("-n", str(question.tokens), "--ignore-eos", "--temp", "0", *stock_log.FLAGS),
    ]
