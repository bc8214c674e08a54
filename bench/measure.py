"""`bench`: measures the variants of a bundle on one device, and loses nothing that was measured."""

from __future__ import annotations

import dataclasses
import datetime
import secrets
from dataclasses import dataclass
from pathlib import Path

from imp_deploy import results
from imp_deploy.bench import describe, kept, programs, remote_run
from imp_deploy.bench.carry_out import Shown, Work, carry_out, require_idle
from imp_deploy.bench.deployment import bring
from imp_deploy.bench.programs import Program
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings, protocol_for
from imp_deploy.bench.subject import Subject, bundle_record, variant_record
from imp_deploy.bench.tune import choice
from imp_deploy.bundle import Variant
from imp_deploy.errors import DeviceError
from imp_deploy.files import full_disk_is_bad_input
from imp_deploy.results import Conditions, DeviceRecord, Protocol, Result

_UNKNOWN = Conditions(screen_on=None, battery_percent=None, charging=None, battery_saver=None)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """`files`: a result per variant; `kept`: those of them that were complete before. `problems`:
    sentences about what could not be measured; the same call goes on there."""

    device: str
    files: dict[Path, Result]
    kept: tuple[Path, ...]
    pushed_bytes: int
    problems: tuple[str, ...]


def measure(
    session: Session, subject: Subject, settings: Settings, *, out: Path, force: bool, shown: Shown
) -> Measured:
    """Writes a result file per variant into `out`, anew after every sample. What the files there
    hold already is not measured again, unless `force`; an interrupted measurement goes on.

    Raises `DeviceError` when it cannot begin, and `BadInput` for tuned settings that there are none
    of."""
    with full_disk_is_bad_input(out):
        out.mkdir(parents=True, exist_ok=True)
    device = session.call(describe.describe)
    program = programs.program_for(device, shown.measuring, ndk=settings.ndk)
    protocol = protocol_for(settings, device, subject.picture_sha256)
    fresh = [
        _fresh(
            subject,
            variant,
            device,
            program,
            choice.require(device, subject.bundle, variant, program.sha256).applied(protocol)
            if settings.tuned
            else protocol,
        )
        for variant in subject.variants
    ]
    with kept.alone(out, device.serial):
        found = kept.sort_out(out, fresh, force=force)
        files = {kept.result_path(out, result): result for result in found}
        complete = tuple(path for path, result in files.items() if result.complete)
        pushed, problems = 0, []
        if len(complete) < len(files):
            require_idle(session, [r.run for r in found])  # a push would disturb who measures
            deployed = bring(session, subject, program, shown.pushing, shown.say)
            pushed = deployed.pushed_bytes
            variants = dict(zip(files, subject.variants, strict=True))
            work = Work(session, subject, settings, program, shown, variants, deployed.paths)
            problems = _measure_rest(work, files)
    return Measured(
        device=session.name,
        files=files,
        kept=complete,
        pushed_bytes=pushed,
        problems=tuple(problems),
    )


def _measure_rest(work: Work, files: dict[Path, Result]) -> list[str]:
    """Measures what is not complete in `files`, which is kept up to date as the files on disk are;
    sentences about what is still missing then."""
    problems: list[str] = []
    try:
        for run in _runs(work, {p: r for p, r in files.items() if not r.complete}):
            problems += carry_out(work, run, files)
    except DeviceError as error:
        problems.append(
            f"{error} What was measured is kept, and the device goes on by itself if it can; run "
            "the same command again to collect and to go on."
        )
    return problems


def _runs(work: Work, unfinished: dict[Path, Result]) -> list[dict[Path, Result]]:
    """The measurements to go on with, as they were begun together, and a new one of the rest."""
    known = {run for run in {r.run for r in unfinished.values()} if run and _begun(work, run)}
    runs = [{p: r for p, r in unfinished.items() if r.run == run} for run in sorted(known)]
    new = {path: result for path, result in unfinished.items() if result.run not in known}
    return [*runs, _begin(work, new)] if new else runs


def _begun(work: Work, run: str) -> bool:
    """Whether the device still has something of the run."""
    return work.session.call(lambda d: remote_run.last_attempt(d, work.folder(run))) > 0


def _begin(work: Work, files: dict[Path, Result]) -> dict[Path, Result]:
    """Looks at the device and saves the results under a new run's name. Samples that they hold
    already, of a run that the device knows no more, stay."""
    protocol = next(iter(files.values())).protocol
    info = work.session.call(lambda d: programs.system_info(d, work.program, work.place))
    bandwidth = work.session.call(
        lambda d: programs.bandwidth(
            d, work.program, work.place, protocol.threads, protocol.cpu_mask
        )
    )
    conditions = work.session.call(describe.conditions)
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    run = secrets.token_hex(8)
    begun = {
        path: dataclasses.replace(
            result,
            runner=dataclasses.replace(result.runner, system_info=info),
            conditions=conditions,
            bandwidth_bytes_per_second=bandwidth,
            run=run,
            started=result.started or started,
        )
        for path, result in files.items()
    }
    for path, result in begun.items():
        results.save(path, result)
    return begun


def _fresh(
    subject: Subject,
    variant: Variant,
    device: DeviceRecord,
    program: Program,
    protocol: Protocol,
) -> Result:
    """The result of `variant` before anything was measured."""
    return Result(
        device=device,
        runner=programs.runner_record(program),
        bundle=bundle_record(subject.bundle, variant),
        variant=variant_record(variant),
        protocol=protocol,
        conditions=_UNKNOWN,
        run="",
        started="",
        bandwidth_bytes_per_second=0.0,
        samples=(),
        failures=(),
        warnings=(),
        complete=False,
    )
