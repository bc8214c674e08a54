"""The runner's lines of results, as answers to the questions that were asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeAlias

from imp_deploy import runner
from imp_deploy.bench.evaluate.pictures import Asked
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.runner import Answer

OnAnswers: TypeAlias = Callable[[list[tuple[Asked, Answer]]], None]


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
        answered, for itself or its picture, is `BadInput`, once all before it are handed over;
        `old`: unless the lines are of an earlier attempt, since the next one asks it again."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        found = []
        try:
            for line in lines:
                values = json.loads(line)
                # A device that was asked before holds those answers too.
                one = self._asked.get(values["step"])
                if one is None or one.question.id in self.seen:
                    continue
                if not old or values["status"] == "ok":
                    found.append((one, _checked(one, values)))
        finally:
            if found:
                self.seen.update(one.question.id for one, _ in found)
                self.picture = found[-1][0].picture
                self._on_answers(found)


def _checked(one: Asked, values: dict[str, object]) -> Answer:
    """The answer in a line of results, or why there is none."""
    if values["status"] == "ok":
        return runner.answer(values)
    kind, message = values["kind"], values["message"]
    if kind in ("image", "prompt", "context"):
        raise BadInput(f"The question {one.question.id} cannot be answered: {message}.")
    raise DeviceError(f"The runner could not answer the question {one.question.id}: {message}")
