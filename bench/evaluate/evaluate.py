"""`eval`: asks a variant of a bundle a benchmark's questions on a device and scores the answers."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from imp_deploy import evaluation as evaluations
from imp_deploy.bench import describe, programs
from imp_deploy.bench.evaluate import on_device, on_host
from imp_deploy.bench.evaluate.answers import Answers, answered
from imp_deploy.bench.evaluate.job import Subject
from imp_deploy.bench.evaluate.kept import matching
from imp_deploy.bench.evaluate.on_device import Place
from imp_deploy.bench.evaluate.pictures import Asked, in_order
from imp_deploy.bench.evaluate.score import finish
from imp_deploy.bench.evaluate.selection import Selection
from imp_deploy.bench.kept import path_of
from imp_deploy.bench.programs import Program
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import cores_for
from imp_deploy.bench.subject import bundle_record, variant_record
from imp_deploy.bench.tune import choice
from imp_deploy.bundle import Bundle, Variant
from imp_deploy.evaluation import Evaluation, EvaluationProtocol
from imp_deploy.files import full_disk_is_bad_input, hold
from imp_deploy.progress import Progress, Stages
from imp_deploy.results import DeviceRecord
from imp_deploy.runner import Answer


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What one call asks of each variant. `max_tokens` None: the task's own. `threads` and
    `cpu_mask` as for `bench`. `tuned`: with the settings that `tune` keeps of the device and the
    variant, instead of these."""

    folder: Path
    bundle: Bundle
    selection: Selection
    max_tokens: int | None = None
    threads: int | None = None
    cpu_mask: str | None = None
    tuned: bool = False


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Where progress goes: bytes pushed, questions answered."""

    pushing: Progress
    answering: Stages


def evaluate(
    session: Session, asking: Asking, variant: Variant, *, out: Path, force: bool, shown: Shown
) -> tuple[Path, Evaluation]:
    """Asks what has no answer in `out` yet, keeps every answer as it comes, and scores. The same
    call again goes on where this one was interrupted, and asks nothing when all is there. Files of
    another evaluation are `BadInput` unless `force`, which begins anew."""
    with full_disk_is_bad_input(out):
        out.mkdir(parents=True, exist_ok=True)
    device = session.call(describe.describe)
    program = programs.program_for(device, shown.answering)
    fresh = _fresh(asking, variant, device, program)
    path = result_path(out, fresh)
    busy = (
        f"Another imp-deploy evaluates into {path}; wait for it, or choose another folder with "
        "--out."
    )
    with hold(path.with_name(f".{path.name}.lock"), busy):
        now = matching(path, fresh, force=force)
        questions = {question.id: question for question in asking.selection.questions}
        key = evaluations.answers_key(now)
        answers = Answers(evaluations.answers_path(path), key, questions)
        every = in_order(asking.selection.questions)
        missing = [one for one in every if one.question.id not in answers.by_id]
        if not missing and now.complete:
            return path, now
        if missing:
            evaluations.save(path, now)  # says whose the answers are, before the first of them
            subject = Subject(bundle=asking.bundle, variant=variant, protocol=fresh.protocol)
            place = Place(session, asking.folder, program, f"eval-{key}")
            shown.answering.start(_title(session, now), len(every))
            shown.answering.advance(len(every) - len(missing))

            def on_answers(found: list[tuple[Asked, Answer]]) -> None:
                answers.add([answered(key, one.question, answer) for one, answer in found])
                shown.answering.advance(len(found))

            if device.kind == "host":
                on_host.ask(program.path, asking.folder, subject, missing, on_answers)
            else:
                on_device.ask(
                    place,
                    subject,
                    every,
                    missing,
                    on_answers,
                    answers.sync,
                    shown.pushing,
                    anew=force,
                )
        answers.sync()
        done = finish(path, now, asking.selection, answers.by_id)
        evaluations.save(path, done)
        return path, done


def result_path(out: Path, evaluation: Evaluation) -> Path:
    """`Imp-3B-textvqa-4bit-196-SERIAL.json`; an 8- or 4-bit tower is named as well."""
    what = f"{evaluation.bundle.name}-{evaluation.task.name}"
    return path_of(out, what, evaluation.variant, evaluation.device.serial)


def _fresh(asking: Asking, variant: Variant, device: DeviceRecord, program: Program) -> Evaluation:
    """The evaluation of `variant` before anything was asked."""
    threads, mask = cores_for(asking.threads, asking.cpu_mask, device)
    settings = None
    if asking.tuned:
        found = choice.require(device, asking.bundle, variant, program.sha256)
        threads, mask, settings = found.threads, found.cpu_mask, found.settings
    return Evaluation(
        task=asking.selection.record,
        bundle=bundle_record(asking.bundle, variant),
        variant=variant_record(variant),
        device=device,
        runner=programs.runner_record(program),
        protocol=EvaluationProtocol(
            max_tokens=asking.max_tokens or asking.selection.task.max_tokens,
            threads=threads,
            cpu_mask=mask,
            template=asking.bundle.prompt.template,
            settings=settings,
        ),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        marks={},
        score=None,
        submission=None,
        complete=False,
    )


def _title(session: Session, evaluation: Evaluation) -> str:
    variant = evaluation.variant
    return f"{session.name}: {evaluation.task.title}, {variant.bits}-bit@{variant.resolution}"
