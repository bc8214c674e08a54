"""`calibrate`: asks a bundle on this machine, and keeps what went into its language model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imp_deploy import bundle as bundles
from imp_deploy.bench.calibrate import sums
from imp_deploy.bench.calibrate.questions import questions
from imp_deploy.bench.calibrate.sums import About
from imp_deploy.bench.evaluate import on_host
from imp_deploy.bench.evaluate.job import Subject, job_for
from imp_deploy.bench.evaluate.pictures import Asked, in_order, pictures
from imp_deploy.bench.tasks.task import Question
from imp_deploy.build.host import build_host
from imp_deploy.bundle import Bundle, Variant
from imp_deploy.errors import BadInput
from imp_deploy.evaluation import EvaluationProtocol
from imp_deploy.progress import Progress
from imp_deploy.runner import Answer

FORMAT: Final = 1  # raise it when the same questions give other sums
MAX_TOKENS: Final = 32


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`images`: a folder of pictures; `prompts`: a file with a question on each line (None: ours);
    `limit`: the most pictures (None: all); `bits` None: the most that the bundle has, `resolution`
    None: 196 or the nearest; `threads` 0: all of the machine's."""

    images: Path
    prompts: Path | None = None
    limit: int | None = None
    bits: int | None = None
    resolution: int | None = None
    max_tokens: int = MAX_TOKENS
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """`about.rows` tokens were seen, of which `visual` were an image's. `kept`: by an earlier
    call, from the same pictures and questions."""

    path: Path
    kept: bool
    variant: Variant
    pictures: int
    visual: int
    about: About


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is known before the model is loaded."""

    folder: Path
    subject: Subject
    asked: tuple[Asked, ...]
    datasets: tuple[str, ...]
    key: str

    @property
    def pictures(self) -> int:
        return len({one.picture for one in self.asked})


def default_path(folder: Path, bundle: Bundle) -> Path:
    """Where the file goes if nothing is said."""
    return folder / f"{bundle.name}.imatrix.gguf"


def plan(folder: Path, bundle: Bundle, settings: Settings, looked: Progress) -> Plan:
    """Decodes every picture once, so that an unreadable one is known before an hour's work, and
    tells `looked` of each."""
    most = max((file.bits for file in bundle.files if file.role == "llm"), default=None)
    bits = settings.bits or most
    variant = bundles.choose(bundle, bits=bits, resolution=settings.resolution)
    found = questions(settings.images, settings.prompts, settings.limit)
    subject = Subject(
        bundle=bundle,
        variant=variant,
        protocol=EvaluationProtocol(
            max_tokens=settings.max_tokens,
            threads=settings.threads,
            cpu_mask="",
            template=bundle.prompt.template,
        ),
    )
    asked = in_order(found)
    every = pictures(asked).values()
    looked.start("pictures", len(every))
    digests = {}
    for picture in every:
        picture.load()
        digests[picture.key] = picture.digest()
        looked.advance(1)
    names = [settings.images] if settings.prompts is None else [settings.images, settings.prompts]
    return Plan(
        folder=folder,
        subject=subject,
        asked=asked,
        datasets=tuple(path.resolve().name or "images" for path in names),
        key=_key(subject, [one.question for one in asked], digests),
    )


def calibrate(plan: Plan, out: Path, *, force: bool, shown: Progress) -> Calibrated:
    """Writes `out`, a whole importance matrix or none; nothing of an interrupted call is left. A
    file that is there already is `BadInput`, unless it is the same, or `force`."""
    known = _there(out, plan, force=force)
    if known is not None:
        return _calibrated(plan, out, known, kept=True)
    binary = build_host(progress=shown)
    shown.start("questions", len(plan.asked))

    def on_answers(found: list[tuple[Asked, Answer]]) -> None:
        shown.advance(len(found))

    with tempfile.TemporaryDirectory() as scratch:
        place, raw = Path(scratch) / "run", Path(scratch) / "sums"
        place.mkdir()
        variant = plan.subject.variant
        job = job_for(
            plan.subject,
            plan.asked,
            model=(plan.folder / variant.llm.path).absolute(),
            mmproj=(plan.folder / variant.vision.path).absolute(),
            picture=lambda number: place / str(number),
        )
        # A picture that is asked about twice counts twice, as if the questions came on their own.
        job = dataclasses.replace(job, reuse=False, keep_text=False, imatrix=raw)
        on_host.carry_out(binary, job, plan.asked, place, on_answers)
        about = sums.write(
            out,
            sums.parse(raw.read_bytes()),
            key=plan.key,
            datasets=plan.datasets,
            questions=len(plan.asked),
        )
    return _calibrated(plan, out, about, kept=False)


def _there(out: Path, plan: Plan, *, force: bool) -> About | None:
    """What is at `out` if it is what this call would write."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        what = "is a folder" if out.is_dir() else "is in no folder that is there"
        raise BadInput(f"{out} {what}; give --out a file to write.")
    if not os.access(out.absolute().parent, os.W_OK):
        raise BadInput(f"{out} may not be written; change the folder's rights, or give --out.")
    if force or not out.exists():
        return None
    known = sums.read_about(out)
    if known is None or known.key != plan.key:
        what = "another file" if known is None else "of other pictures, questions or settings"
        raise BadInput(
            f"{out} is there already, {what}; overwrite it with --force, or give --out another."
        )
    return known


def _calibrated(plan: Plan, out: Path, about: About, *, kept: bool) -> Calibrated:
    variant = plan.subject.variant
    return Calibrated(
        path=out,
        kept=kept,
        variant=variant,
        pictures=plan.pictures,
        visual=len(plan.asked) * (variant.vision.visual_tokens or 0),
        about=about,
    )


def _key(subject: Subject, found: list[Question], digests: dict[str, str]) -> str:
    """SHA-256 of all that the sums depend on."""
    spec = subject.bundle.prompt
    value = [
        FORMAT,
        [subject.variant.llm.sha256, subject.variant.vision.sha256],
        [spec.template, spec.stop, spec.normalize, subject.bundle.preprocess.mode],
        subject.protocol.max_tokens,
        [[question.text, digests[question.picture.key]] for question in found],
    ]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
