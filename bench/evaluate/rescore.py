"""`score`: makes marks and score again from the answers, without the model."""

from __future__ import annotations

from pathlib import Path

from imp_deploy import evaluation as evaluations
from imp_deploy.bench.evaluate.answers import Answers
from imp_deploy.bench.evaluate.score import finish
from imp_deploy.bench.evaluate.selection import select
from imp_deploy.bench.tasks.table import task
from imp_deploy.errors import BadInput
from imp_deploy.evaluation import Evaluation


def rescore(path: Path, data: Path | None) -> Evaluation:
    """Reads the evaluation in `path`, its answers and the benchmark in `data`, which must hold the
    very questions that were asked, and writes what follows into `path`."""
    if path.is_dir() or path.name.endswith(".answers.jsonl"):
        raise BadInput(
            f"{path} is not the file with the score; give the .json file that `imp-deploy eval` "
            "wrote, beside the .answers.jsonl."
        )
    before = evaluations.load(path)
    record = before.task
    limit = None if record.seed is None else record.asked
    selection = select(
        task(record.name), data, split=record.split, limit=limit, seed=record.seed or 0
    )
    if selection.record.sha256 != record.sha256:
        raise BadInput(
            f"{path} answers other questions of {record.title} than are in {data or 'this version'}"
            "; give --data the folder that they were asked from."
        )
    answers = Answers(
        evaluations.answers_path(path),
        evaluations.answers_key(before),
        {question.id: question for question in selection.questions},
    )
    after = finish(path, before, selection, answers.by_id)
    if not after.complete:
        raise BadInput(
            f"{path} has {len(answers.by_id)} of {record.asked} answers, which is no basis for a "
            "score; give the same `imp-deploy eval` again to ask the rest."
        )
    if after != before:
        evaluations.save(path, after)
    return after
