"""`bench`: measures the variants of a bundle on one device, and loses nothing that was measured."""

from __future__ import annotations

import dataclasses
import datetime
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy import results
from imp_deploy.bench import (
    describe,
    detached,
    findings,
    kept,
    outcome,
    plan,
    programs,
    remote_run,
)
from imp_deploy.bench.deployment import bring
from imp_deploy.bench.device import LinkLost
from imp_deploy.bench.follow import Ended, follow
from imp_deploy.bench.outcome import Outcome
from imp_deploy.bench.plan import Repetition
from imp_deploy.bench.programs import Program
from imp_deploy.bench.remote_run import RunFolder
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings, protocol_for
from imp_deploy.bench.subject import Subject, bundle_record, variant_record
from imp_deploy.bundle import Variant
from imp_deploy.errors import DeviceError
from imp_deploy.files import full_disk_is_bad_input
from imp_deploy.progress import Progress, Stages
from imp_deploy.results import Conditions, DeviceRecord, Result

_UNKNOWN = Conditions(screen_on=None, battery_percent=None, charging=None, battery_saver=None)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Where progress goes: bytes pushed, repetitions measured, and sentences."""

    pushing: Progress
    measuring: Stages
    say: Callable[[str], None]


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

    Raises `DeviceError` when it cannot begin."""
    with full_disk_is_bad_input(out):
        out.mkdir(parents=True, exist_ok=True)
    device = session.call(describe.describe)
    program = programs.program_for(device, shown.measuring, ndk=settings.ndk)
    protocol = protocol_for(settings, device, subject.picture_sha256)
    fresh = [_fresh(subject, variant, device, program, protocol) for variant in subject.variants]
    found = kept.sort_out(out, fresh, force=force)
    files = {kept.result_path(out, result): result for result in found}
    complete = tuple(path for path, result in files.items() if result.complete)
    variants = dict(zip(files, subject.variants, strict=True))
    open_files = {path: files[path] for path in files if path not in complete}
    pushed = 0
    problems: list[str] = []
    if open_files:
        deployed = bring(session, subject, program, shown.pushing, shown.say)
        pushed = deployed.pushed_bytes
        work = _Work(session, subject, settings, program, shown, variants, deployed.paths)
        try:
            for run in _runs(work, open_files):
                ended = _carry_out(work, run, files)
                problems += _problems(work, ended, [files[path] for path in run])
        except LinkLost as error:
            problems.append(
                f"{error} The device measures on by itself; run the same command again to collect."
            )
    return Measured(
        device=session.name,
        files=files,
        kept=complete,
        pushed_bytes=pushed,
        problems=tuple(problems),
    )


@dataclass(frozen=True)
class _Work:
    """What all runs of one call share."""

    session: Session
    subject: Subject
    settings: Settings
    program: Program
    shown: Shown
    variants: dict[Path, Variant]
    places: dict[str, str]  # on the device, by SHA-256

    @property
    def place(self) -> str:
        """Of the runner, on the device."""
        return self.places[self.program.sha256]

    def folder(self, run: str) -> RunFolder:
        return RunFolder(self.session.device.root, run)


def _fresh(
    subject: Subject,
    variant: Variant,
    device: DeviceRecord,
    program: Program,
    protocol: results.Protocol,
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


def _runs(work: _Work, open_files: dict[Path, Result]) -> list[dict[Path, Result]]:
    """The measurements to go on with, as they were begun together, and a new one of the rest."""
    known = {r.run for r in open_files.values() if r.run and _exists(work, r.run)}
    begun = [{p: r for p, r in open_files.items() if r.run == run} for run in sorted(known)]
    new = {path: result for path, result in open_files.items() if result.run not in known}
    return begun + ([_begin(work, new)] if new else [])


def _exists(work: _Work, run: str) -> bool:
    """Whether the device still has the run's folder."""
    return work.session.call(lambda d: remote_run.last_attempt(d, work.folder(run))) > 0


def _begin(work: _Work, files: dict[Path, Result]) -> dict[Path, Result]:
    """Looks at the device and saves the results, still empty, under a new run's name."""
    busy = work.session.call(remote_run.at_work)
    if busy:
        raise DeviceError(
            f"{work.session.name} is busy with another measurement ({', '.join(busy)}); wait for "
            "it, or stop it with `imp-deploy bench --clean --force`."
        )
    info = work.session.call(lambda d: programs.system_info(d, work.program, work.place))
    protocol = next(iter(files.values())).protocol
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
            started=started,
            samples=(),
            failures=(),
            warnings=(),
        )
        for path, result in files.items()
    }
    for path, result in begun.items():
        results.save(path, result)
    return begun


def _carry_out(work: _Work, run: dict[Path, Result], files: dict[Path, Result]) -> Ended:
    """Starts the run where it is not at work, and follows it to its end; `files` and the files on
    disk always hold all that is known."""
    first = next(iter(run.values()))
    folder = work.folder(first.run)
    protocol = first.protocol
    repetitions = plan.order(
        [work.variants[path] for path in run], protocol.warmups + protocol.repetitions
    )
    files.update(run)
    _start(work, folder, repetitions, protocol)
    work.shown.measuring.start(_title(work, None), len(repetitions))
    seen = 0

    def on_news(now: Outcome) -> None:
        nonlocal seen
        for path, result in run.items():
            updated = _updated(result, work.variants[path], now, repetitions)
            if updated != files[path]:
                files[path] = updated
                results.save(path, updated)
        done = len(now.samples) + len(now.failures)
        work.shown.measuring.advance(done - seen)
        seen = done
        work.shown.measuring.describe(_title(work, now))

    ended = follow(
        work.session,
        folder,
        repetitions,
        protocol,
        timeout=work.settings.timeout,
        on_news=on_news,
    )
    if all(files[path].complete for path in run):
        work.session.call(lambda d: remote_run.remove(d, folder))
    return ended


def _start(
    work: _Work, folder: RunFolder, repetitions: Sequence[Repetition], protocol: results.Protocol
) -> None:
    """A new attempt at the repetitions that have no sample yet, unless one is at work."""
    session = work.session
    if session.call(lambda d: detached.running(d, folder.path)):
        work.shown.say(f"{session.name}: a measurement is at work already; going on with it")
        return
    attempt = session.call(lambda d: remote_run.last_attempt(d, folder))
    lines = remote_run.results_tail(folder)
    session.call(lines.fetch)
    samples = outcome.read([], lines.text, repetitions, protocol.warmups).samples
    left = [repetition for repetition in repetitions if repetition.id not in samples]
    subject = work.subject
    jobs = {
        r.job_file: plan.job_text(r, protocol, subject.bundle, subject.filled, work.places)
        for r in left
    }
    text = plan.plan_text(left, protocol, work.settings.timeout, folder.path)
    session.call(lambda d: remote_run.write(d, folder, jobs))
    session.call(lambda d: remote_run.start(d, folder, attempt + 1, work.place, text))


def _updated(
    result: Result, variant: Variant, now: Outcome, repetitions: Sequence[Repetition]
) -> Result:
    """`result` with all that is known of its variant."""
    ids = [r.id for r in repetitions if r.variant == variant]
    samples = tuple(now.samples[i] for i in ids if i in now.samples)
    updated = dataclasses.replace(
        result,
        samples=samples,
        failures=tuple(now.failures[i] for i in ids if i in now.failures),
        complete=len(samples) == len(ids),
    )
    return dataclasses.replace(updated, warnings=findings.find(updated))


def _title(work: _Work, now: Outcome | None) -> str:
    if now is None or now.current is None:
        return work.session.name
    number, bits, resolution, _ = now.current.split("-")
    doing = "measuring" if now.resting is None else f"cooling down ({now.resting:.0f} °C)"
    return f"{work.session.name}: {doing}, round {number}, {bits} bits at {resolution}"


def _problems(work: _Work, ended: Ended, run: Sequence[Result]) -> list[str]:
    """Sentences about what is missing from the run, the same one once."""
    name = work.session.name
    failures = [failure for result in run for failure in result.failures]
    lost = sum(not result.complete for result in run)
    kept_samples = sum(len(result.samples) for result in run)
    found = list(dict.fromkeys(f"{name}: {f.message}" for f in failures if f.kind != "skipped"))
    tail = f"{kept_samples} finished samples are kept; run the same command again to go on."
    if ended.how == "rebooted":
        reason = work.session.call(remote_run.restart_reason)
        found.append(f"{name}: the phone restarted during the measurement ({reason}); {tail}")
    elif ended.how == "disk_full":
        found.append(
            f"{name}: the phone's disk is full; free some space there, or run `imp-deploy bench "
            f"--clean`; {tail}"
        )
    elif ended.how == "stopped":
        found.append(f"{name}: the job was killed on the device; {tail}")
    elif ended.how == "stuck":
        found.append(f"{name}: the job stopped reporting and was killed; {tail}")
    elif lost and found:
        found[-1] += f" {tail[0].upper()}{tail[1:]}"
    return found
