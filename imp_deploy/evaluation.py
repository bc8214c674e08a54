"""The result of asking one variant of a bundle a benchmark's questions on one device.

`eval` writes two files: `NAME.answers.jsonl`, a line per answer, to which it only ever appends, and
`NAME.json`, which says what was asked of what and holds the marks and the score. Both can be made
again from the answers and the benchmark's own files, without the model.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imp_deploy import record
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object, write_json_atomic
from imp_deploy.results import BundleRecord, DeviceRecord, RunnerRecord, VariantRecord
from imp_deploy.runner import RunSettings, Seconds, Tokens

__all__ = ["BundleRecord", "DeviceRecord", "RunnerRecord", "Seconds", "Tokens", "VariantRecord"]

SCHEMA = 1

_CURE = "evaluate again with `imp-deploy eval`"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A line of the answers. `question`: the text as asked, the task's suffix included, without the
    bundle's template. `text`: as the model gave it; `token_ids` without the end-of-generation
    token. `seconds.vision` 0 where an earlier question about the same image had it encoded. `of`:
    `answers_key` of the evaluation."""

    of: str
    id: str
    question: str
    text: str
    token_ids: tuple[int, ...]
    stop: Literal["eog", "string", "length"]
    tokens: Tokens
    seconds: Seconds


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """What was asked. `questions`: how many the files hold; `asked`: how many of them were asked,
    by `seed` where that is fewer. `sha256`: over the ids, texts, images and right answers of those
    asked, in their order: evaluations may be compared question by question when it is equal.
    `warning`: a sentence where the files are not the whole benchmark, "" otherwise."""

    name: str
    title: str
    split: str
    questions: int
    asked: int
    seed: int | None
    sha256: str
    warning: str = ""


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """Greedy decoding of at most `max_tokens`. `threads` (0: all) and `cpu_mask` (hexadecimal, ""
    for none) as asked of the runner; `template` the bundle's, with `<image>` and `{question}`.
    `settings`: those that `tune` found, with its threads and mask; None: the runner's own."""

    max_tokens: int
    threads: int
    cpu_mask: str
    template: str
    settings: RunSettings | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """`value` between 0 and `most` (100 for percentages); `low` and `high`: its 95 % confidence
    interval over questions drawn like these. `parts`: further figures of the same benchmark, by
    name, in the units that its authors print."""

    metric: str
    value: float
    low: float
    high: float
    most: float
    parts: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """`marks`: by question id, from 0 (wrong) to 1 (right); empty where the task cannot be scored
    here. `complete`: every question asked has its answer; only then is there a `score`, or the
    `submission`, the name of a file beside this one for the server or grader that can score.
    `seconds`: the sum of the answers' phases. `answers_sha256`: of the file of answers, "" while it
    is not complete. Times of day are UTC."""

    task: TaskRecord
    bundle: BundleRecord
    variant: VariantRecord
    device: DeviceRecord
    runner: RunnerRecord
    protocol: EvaluationProtocol
    started: str
    seconds: float
    marks: dict[str, float]
    score: Score | None
    submission: str | None
    complete: bool
    answers_sha256: str = ""
    schema: int = SCHEMA


def answers_key(evaluation: Evaluation) -> str:
    """Names what its answers depend on: the questions, the files, the runner, the protocol."""
    protocol = dataclasses.astuple(evaluation.protocol)
    if evaluation.protocol.settings is None:  # as earlier versions, which had none, named it
        protocol = protocol[:-1]
    parts = [
        evaluation.task.sha256,
        evaluation.runner.sha256,
        *(file.sha256 for file in evaluation.bundle.files),
        protocol,
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def answers_path(path: Path) -> Path:
    """Where the answers of the evaluation in `path` are."""
    return path.with_suffix(".answers.jsonl")


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    value = dataclasses.asdict(evaluation)
    return {"kind": "evaluation", "schema": value.pop("schema"), **value}


def save(path: Path, evaluation: Evaluation) -> None:
    write_json_atomic(path, to_json(evaluation))


def is_evaluation(value: Any) -> bool:
    """Whether a JSON document says that it is one."""
    return isinstance(value, dict) and value.get("kind") == "evaluation"


def load(path: Path) -> Evaluation:
    """Reads and checks the file of an evaluation."""
    value = read_json_object(path, _CURE)
    if not is_evaluation(value):
        raise BadInput(f"{path} is no evaluation; give a file that `imp-deploy eval` wrote.")
    record.require_schema(value, SCHEMA, str(path), _CURE)
    del value["kind"]
    evaluation = record.parse(Evaluation, value, str(path), _CURE)
    _check(path, evaluation)
    return evaluation


def _check(path: Path, evaluation: Evaluation) -> None:
    if any(not 0 <= mark <= 1 for mark in evaluation.marks.values()):
        raise BadInput(f"{path} holds marks that are not between 0 and 1; {_CURE}.")
    if evaluation.complete and len(evaluation.marks) not in (0, evaluation.task.asked):
        raise BadInput(
            f"{path} says that it is complete and holds {len(evaluation.marks)} marks for "
            f"{evaluation.task.asked} questions; {_CURE}."
        )
    if evaluation.score is not None and not (evaluation.complete and evaluation.marks):
        raise BadInput(f"{path} holds a score over what is not complete; {_CURE}.")
