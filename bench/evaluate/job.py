"""The runner's job for an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePath

from imp_deploy import prompt, runner
from imp_deploy.bench.evaluate.pictures import Asked
from imp_deploy.bundle import Bundle, Variant
from imp_deploy.evaluation import EvaluationProtocol

WAIT = 600  # seconds; the slowest way brings a batch of pictures in a minute or two


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What answers: a variant, and how it is asked."""

    bundle: Bundle
    variant: Variant
    protocol: EvaluationProtocol


def job_for(
    subject: Subject,
    asked: Iterable[Asked],
    *,
    model: PurePath,
    mmproj: PurePath,
    picture: Callable[[int], PurePath],
) -> runner.Job:
    """`model`, `mmproj` and `picture` (by number): where the machine has them, that answers. The
    steps have the ids of the questions."""
    side = subject.variant.vision.resolution
    assert side is not None
    return runner.Job(
        model=model,
        mmproj=mmproj,
        stop=subject.bundle.prompt.stop,
        threads=subject.protocol.threads,
        cpu_mask=subject.protocol.cpu_mask,
        settings=subject.protocol.settings or runner.RunSettings(),
        wait=WAIT,
        reuse=True,
        keep_text=True,
        steps=tuple(
            runner.Step(
                id=one.question.id,
                prompt=prompt.ask(subject.bundle.prompt, one.question.id, one.question.text),
                max_tokens=subject.protocol.max_tokens,
                image=picture(one.picture),
                side=side,
                mode=subject.bundle.preprocess.mode,
            )
            for one in asked
        ),
    )
