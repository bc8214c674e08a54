"""One question about one image, answered by a bundle on a device."""

from __future__ import annotations

import secrets
from pathlib import PurePosixPath

from imp_deploy import runner
from imp_deploy.bench import describe, programs, remote_run
from imp_deploy.bench.carry_out import require_idle
from imp_deploy.bench.deployment import bring
from imp_deploy.bench.device import Device, quoted
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings, protocol_for
from imp_deploy.bench.subject import Subject
from imp_deploy.bench.tune import choice
from imp_deploy.errors import DeviceError
from imp_deploy.progress import Progress
from imp_deploy.results import DeviceRecord
from imp_deploy.runner import Answer

_TIMEOUT = 900.0  # seconds; the slowest phone of the paper answers in two minutes


def ask(
    session: Session, subject: Subject, settings: Settings, *, max_tokens: int, progress: Progress
) -> tuple[Answer, DeviceRecord]:
    """The answer, and what gave it. `subject`: with one variant. Greedy decoding. With
    `settings.tuned` as `tune` found it to be best, where it has been there."""
    device = session.call(describe.describe)
    require_idle(session, [])
    program = programs.program_for(device, progress, ndk=settings.ndk)
    places = bring(session, subject, program, progress, session.say).paths
    protocol = protocol_for(settings, device, subject.picture_sha256)
    (variant,) = subject.variants
    if settings.tuned and (found := choice.find(device, subject.bundle, variant, program.sha256)):
        protocol = found.applied(protocol)
        session.say("With the settings that `imp-deploy tune` keeps; --threads leaves them aside.")
    step = runner.Step(
        id="question",
        image=PurePosixPath(places[subject.picture_sha256]),
        prompt=subject.filled,
        side=variant.vision.resolution or 0,
        mode=subject.bundle.preprocess.mode,
        max_tokens=max_tokens,
    )
    job = runner.Job(
        model=PurePosixPath(places[variant.llm.sha256]),
        mmproj=PurePosixPath(places[variant.vision.sha256]),
        threads=protocol.threads,
        cpu_mask=protocol.cpu_mask,
        settings=protocol.settings or runner.RunSettings(),
        stop=subject.bundle.prompt.stop,
        steps=(step,),
    )
    place = places[program.sha256]
    return session.call(lambda d: _run(d, place, runner.job_text(job), step.id)), device


def _run(device: Device, place: str, job: str, step: str) -> Answer:
    """In a folder of its own, which is gone afterwards."""
    folder = remote_run.RunFolder(device.root, f"ask-{secrets.token_hex(4)}")
    remote_run.write(device, folder, {"job-ask.txt": job})
    lines = remote_run.results_tail(folder)
    try:
        argv = quoted([place, folder.file("job-ask.txt"), lines.path])
        output = device.shell(argv, timeout=_TIMEOUT)
        lines.fetch(device)
    finally:
        remote_run.remove(device, folder)
    records = runner.parse_results(lines.text)
    if not records:
        raise DeviceError(f"{device.name}: the runner failed: {output.evidence()}")
    return runner.answer_for(records, step)
