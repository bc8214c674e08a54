"""The runner's lines of results, as answers to the questions that were asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeAlias

from imp_deploy import runner
from imp_deploy.bench.evaluate.pictures import Asked
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.runner import Answer

_CURE = "leave the question out, give a smaller --max-tokens, or look at its picture"

OnAnswers: TypeAlias = Callable[[list[tuple[Asked, Answer]]], None]


class Unanswerable(BadInput):
    """A question that cannot be answered, for itself or its picture."""


class Taken:
    """`seen`: the ids of the questions that have an answer; `picture`: the number of the latest."""

    def __init__(self, asked: Sequence[Asked], on_answers: OnAnswers) -> None:
        self._asked = {one.question.id: one for one in asked}
        self._on_answers = on_answers
        self._rest = b""
        self.seen: set[str] = set()
        self.picture = 0

    def take(self, content: bytes, *, old: bool = False) -> None:
        """More of the file of results, from where the last call's ended. A question that cannot be
        answered is `Unanswerable`, once all before it are handed over; `old`: unless the lines may
        be of an earlier attempt, since the next one asks it again. Lines that are no JSON, as a
        loss of power leaves them, are passed over: those questions are asked again."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        found = []
        try:
            for line in lines:
                values = _values(line)
                # A device that was asked before holds those answers too.
                one = self._asked.get(str(values.get("step")))
                if one is None or one.question.id in self.seen:
                    continue
                if not old or values["status"] == "ok":
                    found.append((one, _checked(one, values)))
                    self.seen.add(one.question.id)
        finally:
            if found:
                self.picture = found[-1][0].picture
                self._on_answers(found)


def _values(line: bytes) -> dict[str, object]:
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _checked(one: Asked, values: dict[str, object]) -> Answer:
    """The answer in a line of results, or why there is none."""
    if values["status"] == "ok":
        return runner.answer(values)
    kind, message = values["kind"], values["message"]
    if kind in ("image", "prompt", "context"):
        raise Unanswerable(
            f"The question {one.question.id} cannot be answered: {message}; {_CURE}."
        )
    raise DeviceError(f"The runner could not answer the question {one.question.id}: {message}")
