"""From answers to marks, a score, or the file that a server scores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

from imp_deploy.bench.evaluate.intervals import bootstrap, count_units, wilson
from imp_deploy.bench.evaluate.selection import Selection
from imp_deploy.bench.tasks.task import Marked, Question, Task
from imp_deploy.evaluation import Answered, Evaluation, Score, answers_path
from imp_deploy.files import sha256_of, write_atomic


def finish(
    path: Path, evaluation: Evaluation, selection: Selection, answers: Mapping[str, Answered]
) -> Evaluation:
    """`evaluation` with all that follows from its answers. Only when every question asked has one,
    there is a score, or a submission, which is written beside `path`."""
    complete = all(question.id in answers for question in selection.questions)
    evaluation = dataclasses.replace(
        evaluation,
        seconds=sum(
            one.seconds.vision + one.seconds.prompt + one.seconds.generate
            for one in answers.values()
        ),
        marks={},
        score=None,
        submission=None,
        complete=complete,
        answers_sha256="",
    )
    if not complete:
        return evaluation
    evaluation = dataclasses.replace(evaluation, answers_sha256=sha256_of(answers_path(path)))
    given = [(q, answers[q.id].text.strip()) for q in selection.questions]
    task = selection.task
    if task.mark is not None and all(q.truth is not None for q in selection.questions):
        marked = [_marked(task, question, answer) for question, answer in given]
        marks = {one.question.id: one.mark for one in marked}
        return dataclasses.replace(evaluation, marks=marks, score=score(task, marked))
    # A server refuses a part of its questions.
    if task.submission is not None and selection.record.asked == selection.record.questions:
        name, content = task.submission(given)
        beside = path.with_name(f"{path.stem}.{name}")
        write_atomic(beside, content)
        return dataclasses.replace(evaluation, submission=beside.name)
    return evaluation


def _marked(task: Task, question: Question, answer: str) -> Marked:
    assert task.mark is not None
    mark, read = task.mark(question, answer)
    return Marked(question, answer, mark, read)


def score(task: Task, marked: list[Marked]) -> Score:
    """The benchmark's figure with its interval."""
    total = task.total
    if total is None:
        mean = sum(one.mark for one in marked) / len(marked)
        low, high = wilson(mean, len(marked))
        return Score(
            metric=task.metric,
            value=100 * mean,
            low=100 * low,
            high=100 * high,
            most=task.most,
            parts=_by_stratum(marked),
        )
    totals = total(marked)
    low, high = _interval(task, marked, totals.value)
    return Score(
        metric=task.metric,
        value=totals.value,
        low=low,
        high=high,
        most=task.most,
        parts=totals.parts,
    )


def _interval(task: Task, marked: list[Marked], value: float) -> tuple[float, float]:
    total = task.total
    assert total is not None
    mean = math.fsum(one.mark for one in marked) / len(marked)
    grouped = any(one.question.group for one in marked)
    if not grouped and math.isclose(value, task.most * mean, abs_tol=1e-9):
        low, high = wilson(mean, len(marked))
        return task.most * low, task.most * high
    low, high = bootstrap(marked, lambda drawn: total(drawn).value)
    if low < high:
        return low, high
    # All units alike, of which resampling learns nothing: as if the figure were a share of them.
    low, high = wilson(value / task.most, count_units(marked))
    return task.most * low, task.most * high


def _by_stratum(marked: list[Marked]) -> dict[str, float]:
    """Percent in each stratum, where there are several."""
    strata: dict[str, list[float]] = {}
    for one in marked:
        strata.setdefault(one.question.stratum, []).append(one.mark)
    if len(strata) < 2:
        return {}
    return {name: 100 * sum(marks) / len(marks) for name, marks in sorted(strata.items())}
