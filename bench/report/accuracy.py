"""Evaluations as a report needs them: joined by the files that they are of, one for each set of
questions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from imp_deploy.bench.evaluate.answered import answered
from imp_deploy.bench.report import figures, paper
from imp_deploy.bench.report.hardware import place
from imp_deploy.evaluation import Evaluation, Score
from imp_deploy.results import BundleRecord, RunnerRecord

Subject = tuple[str, tuple[tuple[str, str], ...]]
"""llama.cpp's commit, and role and SHA-256 of each file. Neither names nor devices are part of it:
answers are greedy, and another processor changes few of them, by rounding."""

STATES: Final = {
    "incomplete": "incomplete",
    "submission": "submission written",
    "unscored": "answers only",
}


def subject(bundle: BundleRecord, runner: RunnerRecord) -> Subject:
    return runner.llama_cpp, tuple(sorted((file.role, file.sha256) for file in bundle.files))


@dataclass(frozen=True)
class Answer:
    """The evaluation that is shown, and `others` of the same files and questions that are not.
    `answered`: how many questions have their answer, None where that is not known."""

    file: str
    evaluation: Evaluation
    answered: int | None
    others: tuple[Answer, ...] = ()

    @property
    def score(self) -> Score | None:
        """Never one over what is not complete."""
        return self.evaluation.score if self.evaluation.complete else None

    @property
    def state(self) -> Literal["scored", "incomplete", "submission", "unscored"]:
        if not self.evaluation.complete:
            return "incomplete"
        if self.evaluation.score is not None:
            return "scored"
        return "submission" if self.evaluation.submission else "unscored"

    @property
    def text(self) -> str:
        """What stands in place of a score."""
        task = self.evaluation.task
        if self.state == "incomplete":
            count = "" if self.answered is None else f"{self.answered} of {task.asked}, "
            return f"{count}incomplete"
        return STATES[self.state]

    @property
    def asked(self) -> str:
        """`500 asked`, or `200 of 4329 asked`."""
        task = self.evaluation.task
        return f"{task.asked} of {task.questions} asked" if self.sampled else f"{task.asked} asked"

    @property
    def sampled(self) -> bool:
        return self.evaluation.task.asked < self.evaluation.task.questions

    @property
    def place(self) -> str:
        return place(self.evaluation.device)

    @property
    def date(self) -> str:
        """To the minute, UTC."""
        return self.evaluation.started[:16].replace("T", " ")


@dataclass(frozen=True)
class Column:
    """One set of questions, for all tables of a report. `key`: its name in CSV and JSON."""

    name: str
    sha256: str
    key: str
    title: str
    metric: str
    most: float

    @property
    def unit(self) -> str:
        return "%" if self.most == 100 else f"of {self.most:g}"

    @property
    def measure(self) -> str:
        """`accuracy, %`; nothing where no variant has a score."""
        return f"{self.metric}, {self.unit}" if self.metric else ""

    @property
    def decimals(self) -> int:
        """As the paper prints them."""
        return 2 if self.most <= 100 else 1

    def of(self, answers: Iterable[Answer]) -> Answer | None:
        """The answer to these questions."""
        return next(
            (a for a in answers if _questions(a.evaluation) == (self.name, self.sha256)), None
        )

    def figure(self, value: float) -> str:
        return figures.figure(value, self.decimals)

    def interval(self, score: Score) -> str:
        return f"{self.figure(score.low)}–{self.figure(score.high)}"


def chosen(
    evaluations: Iterable[tuple[Path, Evaluation]],
) -> Mapping[Subject, tuple[Answer, ...]]:
    """By subject, one answer for each set of questions: the newest of the complete ones, or the
    newest of all where none is complete."""
    found: dict[Subject, dict[tuple[str, str], list[tuple[Path, Evaluation]]]] = {}
    for path, evaluation in evaluations:
        files = found.setdefault(subject(evaluation.bundle, evaluation.runner), {})
        files.setdefault(_questions(evaluation), []).append((path, evaluation))
    return {key: tuple(map(_newest, files.values())) for key, files in found.items()}


def _newest(held: list[tuple[Path, Evaluation]]) -> Answer:
    ordered = sorted(held, key=lambda one: (one[1].complete, one[1].started, str(one[0])))
    *others, last = (Answer(str(path), each, answered(path, each)) for path, each in ordered)
    return replace(last, others=tuple(others))


def _questions(evaluation: Evaluation) -> tuple[str, str]:
    return evaluation.task.name, evaluation.task.sha256


def columns(answers: Iterable[Answer]) -> tuple[Column, ...]:
    """In the order of the paper's table, then by name; several sets of questions of one task say
    how they differ."""
    sets = {_questions(a.evaluation): a for a in sorted(answers, key=lambda a: a.score is not None)}
    names = [name for name, _ in sets]
    made = []
    for (name, sha256), answer in sorted(sets.items(), key=_order):
        task, score, key = answer.evaluation.task, answer.score, slug(name)
        title = task.title
        if names.count(name) > 1:
            title += f", {task.split}, {answer.asked}, questions {sha256[:8]}"
            key += f"_{sha256[:8]}"
        metric, most = (score.metric, score.most) if score else ("", 100.0)
        made.append(Column(name, sha256, key, title, metric, most))
    return tuple(made)


def _order(item: tuple[tuple[str, str], Answer]) -> tuple[int, str, int, str]:
    (name, sha256), answer = item
    rank = paper.TASKS.index(name) if name in paper.TASKS else len(paper.TASKS)
    return rank, name, -answer.evaluation.task.asked, sha256


def slug(name: str) -> str:
    """A task's name as part of a column's."""
    return re.sub(r"[^0-9a-zA-Z]+", "_", name)
