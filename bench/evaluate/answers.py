"""The file of answers: a line each, only ever appended to."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imp_deploy import record
from imp_deploy.bench.tasks.task import Question
from imp_deploy.errors import BadInput
from imp_deploy.evaluation import Answered
from imp_deploy.files import full_disk_is_bad_input
from imp_deploy.runner import Answer

_CURE = "give back the file as it was, or evaluate again with --force"


def answered(key: str, question: Question, answer: Answer) -> Answered:
    return Answered(
        of=key,
        id=question.id,
        question=question.text,
        text=answer.text,
        token_ids=answer.token_ids,
        stop=answer.stop,
        tokens=answer.tokens,
        seconds=answer.seconds,
    )


class Answers:
    """The answers in `path` so far, by question id, and a way to add to them. `key`: whose they
    must be, `evaluation.answers_key`; `questions`: all that may be answered there. Anything else in
    the file is `BadInput`; a last line without its end, as an interruption leaves it, is cut off
    when the next answer is added."""

    def __init__(self, path: Path, key: str, questions: Mapping[str, Question]) -> None:
        self.path = path
        self.key = key
        self.by_id: dict[str, Answered] = {}
        self._whole = 0
        if not path.exists():
            return
        if not path.is_file():
            raise BadInput(f"{path} is a folder where a file of answers should be; move it away.")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({error.strerror}); {_CURE}.") from None
        self._whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[: self._whole].split(b"\n")[:-1], start=1):
            self._take(line, f"{path}, line {number}", questions)

    def _take(self, line: bytes, where: str, questions: Mapping[str, Question]) -> None:
        one = record.parse(Answered, _json(line, where), where, _CURE)
        if one.of != self.key:
            raise BadInput(f"{where} is an answer of another evaluation; {_CURE}.")
        question = questions.get(one.id)
        if question is None:
            raise BadInput(f"{where} answers {one.id!r}, which was not asked; {_CURE}.")
        if one.question != question.text:
            raise BadInput(f"{where} answers another question than {one.id} is now; {_CURE}.")
        if one.id in self.by_id:
            raise BadInput(f"{where} answers {one.id} a second time; {_CURE}.")
        self.by_id[one.id] = one

    def add(self, answers: list[Answered]) -> None:
        """For every reader to see at once."""
        lines = "".join(
            json.dumps(dataclasses.asdict(one), ensure_ascii=False) + "\n" for one in answers
        ).encode()
        with full_disk_is_bad_input(self.path), self.path.open("ab") as file:
            os.truncate(file.fileno(), self._whole)
            try:
                file.write(lines)
                file.flush()
            except OSError:
                os.truncate(file.fileno(), self._whole)
                raise
        self._whole += len(lines)
        self.by_id.update({one.id: one for one in answers})

    def sync(self) -> None:
        """Brings them to the disk."""
        with full_disk_is_bad_input(self.path), self.path.open("ab") as file:
            os.fsync(file.fileno())


def _json(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except ValueError as error:
        raise BadInput(f"{where} is no JSON ({error}); {_CURE}.") from None
