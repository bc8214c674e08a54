"""What `llama-mtmd-cli` logs of one answer, as times.

With `--log-jsonl --log-timestamps` every message is a line of JSON with the microsecond at which
the program logged it, the pieces of the answer among them, which are of level "none". It logs the
environment variable MTMD_TEST_RESPONSE_MARKER when the picture is decoded and the prompt is not yet
touched. From that moment to the last piece it does what T_total counts: preprocessing, encoding,
the prompt, and 63 decoded tokens for 64 pieces. What comes behind the last piece is a decoding that
nobody asked for.

Its own "prompt eval time" is of no use here: it holds the encoding of the picture as well.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

MARKER_VARIABLE = "MTMD_TEST_RESPONSE_MARKER"
MARKER = "imp-deploy: the picture is decoded"
FLAGS = ("--log-jsonl", "--log-timestamps")
_ENCODING, _ENCODED = "encoding mtmd batch", "mtmd batch encoding done"
_PROMPT = re.compile(r"prompt eval time =.*?/\s*(\d+) tokens")
_THREADS = re.compile(r"n_threads = (\d+)")


@dataclass(frozen=True, kw_only=True)
class StockTimes:
    """Seconds. `vision`: encoding alone; `prompt`: the rest up to the first piece, with the
    picture's preprocessing in it; `generate`: from the first piece to the last."""

    vision: float
    prompt: float
    generate: float
    text: str

    @property
    def total(self) -> float:
        return self.vision + self.prompt + self.generate


def times(log: str, pieces: int) -> StockTimes | None:
    """The times of an answer of so many tokens; None where the log is not whole: it is written by
    another thread, and its end may be lost when the program exits."""
    messages = list(_messages(log))
    marker = _first(messages, MARKER)
    encoding, encoded = _first(messages, _ENCODING), _first(messages, _ENCODED)
    if marker is None or encoding is None or encoded is None:
        return None
    # The first message without a level behind the picture is the line break before the answer.
    answer = [m for m in messages[encoded + 1 :] if m["level"] == "none"][1 : pieces + 1]
    if len(answer) < pieces:
        return None
    vision = _between(messages[encoding], messages[encoded])
    return StockTimes(
        vision=vision,
        prompt=_between(messages[marker], answer[0]) - vision,
        generate=_between(answer[0], answer[-1]),
        text="".join(m["msg"] for m in answer),
    )


def prompt_tokens(log: str) -> int | None:
    """Text and visual tokens of the prompt, from the log of a run with `--perf --verbosity 5`."""
    return _number(log, _PROMPT)


def threads(log: str) -> int | None:
    return _number(log, _THREADS)


def _number(log: str, pattern: re.Pattern[str]) -> int | None:
    for message in _messages(log):
        if found := pattern.search(message["msg"]):
            return int(found[1])
    return None


def _messages(log: str) -> list[dict[str, Any]]:
    """The log messages in their order; a last line that was cut off is left out."""
    found = []
    for line in log.split("\n")[:-1]:
        try:
            value = json.loads(line)
        except ValueError:  # what a library prints past the log
            continue
        if isinstance(value, dict) and value.get("type") == "log":
            found.append(value)
    return found


def _first(messages: list[dict[str, Any]], start: str) -> int | None:
    return next((i for i, m in enumerate(messages) if m["msg"].startswith(start)), None)


def _between(first: dict[str, Any], last: dict[str, Any]) -> float:
    seconds: float = (last["time"] - first["time"]) / 1e6
    return seconds
