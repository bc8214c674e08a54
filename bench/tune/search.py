"""`tune`: searches the settings of the runner stage by stage, and keeps what it finds."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.bench import describe, programs
from imp_deploy.bench.carry_out import Shown, require_idle
from imp_deploy.bench.deployment import bring
from imp_deploy.bench.programs import Program
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings, protocol_for
from imp_deploy.bench.subject import Subject
from imp_deploy.bench.tune import choice as choices
from imp_deploy.bench.tune import rounds
from imp_deploy.bench.tune.choice import Choice, Trial, Tuned, Verdict
from imp_deploy.bench.tune.compare import compare
from imp_deploy.bench.tune.decide import decide
from imp_deploy.bench.tune.rounds import Came, Place
from imp_deploy.bench.tune.stages import ALL, STAGES, Part, Stage, taken
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.files import hold
from imp_deploy.results import DeviceRecord, Sample
from imp_deploy.runner import Seconds

DEFAULT = "default"
BEST = "best so far"
TOGETHER = "together"

_WHOLE = Part("all", ALL, ())


@dataclass(frozen=True)
class Found:
    """`kept`: it was there before, and nothing was run."""

    tuned: Tuned
    path: Path
    device: DeviceRecord
    kept: bool


def tune(
    session: Session, subject: Subject, settings: Settings, *, force: bool, shown: Shown
) -> Found:
    """Searches on the device of `session` for the one variant of `subject`; `settings.repetitions`
    for each candidate. What an earlier call has kept is found again, unless `force`; one that was
    interrupted goes on behind its last finished stage.

    Raises `DeviceError` when the default itself cannot be run, or the device is lost."""
    device = session.call(describe.describe)
    program = programs.program_for(device, shown.measuring)
    (variant,) = subject.variants
    key = choices.key_for(device, subject.bundle, variant, program.sha256)
    path = choices.path_for(key)
    fresh = _fresh(key, subject, settings, device)
    with _alone(path):
        known = None if force else _kept(key)
        if known is not None and known.complete and _goes_on(known, fresh):
            return Found(known, path, device, kept=True)
        state = known if known is not None and _goes_on(known, fresh) else fresh
        require_idle(session, [_run_name(key)])
        place = _place(session, subject, program, settings, device, key, shown)
        with tempfile.TemporaryDirectory() as scratch:
            return Found(_search(place, state, device, Path(scratch), shown), path, device, False)


def _search(place: Place, state: Tuned, device: DeviceRecord, scratch: Path, shown: Shown) -> Tuned:
    tokens = _longest_piece(place)
    left = [stage for stage in STAGES if stage.name not in state.stages]
    count = _runs(left, device, tokens, state)
    shown.measuring.start(f"{place.session.name}: tuning", count)
    began = time.monotonic()
    reference = _reference(place, state.default, scratch, shown)
    minutes = (time.monotonic() - began) * count / 60
    shown.say(
        f"{place.session.name}: {count} runs at most, about {minutes:.0f} min; what is found is "
        "kept after every stage."
        if minutes >= 1
        else f"{place.session.name}: {count} runs at most, less than a minute."
    )
    search = _Search(place, reference, scratch, shown)
    for stage in left:
        candidates = stage.candidates(device, tokens, state.chosen)
        shown.measuring.describe(f"{place.session.name}: {stage.name}")
        trials = search.stage(stage.name, stage.parts, state.chosen, candidates, state.repetitions)
        state = dataclasses.replace(
            state,
            chosen=_best(state.chosen, stage, trials),
            stages=(*state.stages, stage.name),
            trials=(*state.trials, *trials),
        )
        choices.keep(state)
    if state.changed:
        shown.measuring.describe(f"{place.session.name}: all {TOGETHER}")
        state = _confirmed(search, state)
    state = dataclasses.replace(state, complete=True)
    choices.keep(state)
    return state


@dataclass(frozen=True)
class _Search:
    """What all stages of one call share. `reference`: the default's answer."""

    place: Place
    reference: Came
    scratch: Path
    shown: Shown

    def stage(
        self,
        name: str,
        parts: tuple[Part, ...],
        base: Choice,
        candidates: Mapping[str, Choice],
        repetitions: int,
        beside: str = BEST,
    ) -> tuple[Trial, ...]:
        """Each candidate once for its answer, and those whose answer is the default's by turns
        with `base` for their times."""
        if not candidates:
            return ()
        advance = self.shown.measuring.advance
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            checks = rounds.run(self.place, candidates, 1, advance, scratch=Path(folder))
            trials = {
                label: self._checked(name, label, candidates[label], came, parts)
                for label, came in checks.items()
            }
        good = {label: candidates[label] for label, trial in trials.items() if trial.same_tokens}
        if not good:
            return tuple(trials.values())
        times = rounds.run(self.place, {beside: base, **good}, repetitions, advance)
        if times[beside].problem:
            raise DeviceError(f"{self.place.session.name}: {times[beside].problem}; run it again.")
        before = times[beside].samples
        found = [
            Trial(
                stage=name,
                label=beside,
                choice=base,
                used=before[0].settings,
                samples=_seconds(before),
                same_tokens=None,
                logit_difference=None,
                verdicts=(),
            )
        ]
        for label, trial in trials.items():
            found.append(_timed(trial, times[label], before, parts) if label in good else trial)
        return tuple(found)

    def _checked(
        self, stage: str, label: str, candidate: Choice, came: Came, parts: tuple[Part, ...]
    ) -> Trial:
        trial = Trial(
            stage=stage,
            label=label,
            choice=candidate,
            used=came.samples[0].settings if came.samples else None,
            samples=(),
            same_tokens=None,
            logit_difference=None,
            verdicts=(),
        )
        if came.problem or came.logits is None or self.reference.logits is None:
            return _refused(trial, parts, "failed", came.problem or "it gave no logits")
        found = compare(
            self.reference.samples[0].token_ids,
            self.reference.logits,
            came.samples[0].token_ids,
            came.logits,
        )
        trial = dataclasses.replace(
            trial, same_tokens=found.first is None, logit_difference=found.logits
        )
        if found.first is None:
            return trial
        reason = f"the answer is another one from token {found.first} on"
        return _refused(trial, parts, "changed", reason)


def _refused(trial: Trial, parts: tuple[Part, ...], answer: choices.Answer, reason: str) -> Trial:
    verdicts = (
        Verdict(part=part.name, before=None, after=None, answer=answer, reason=reason)
        for part in parts
    )
    return dataclasses.replace(trial, verdicts=tuple(verdicts))


def _timed(trial: Trial, came: Came, before: tuple[Sample, ...], parts: tuple[Part, ...]) -> Trial:
    if came.problem:
        return _refused(trial, parts, "failed", came.problem)
    verdicts = (
        decide(part.name, spent(_seconds(before), part), spent(_seconds(came.samples), part))
        for part in parts
    )
    return dataclasses.replace(
        trial,
        used=came.samples[0].settings,
        samples=_seconds(came.samples),
        verdicts=tuple(verdicts),
    )


def spent(samples: tuple[Seconds, ...], part: Part) -> list[float]:
    """Seconds of the part in each sample; all phases are the whole, with what lies between."""
    if part.phases == ALL:
        return [each.total for each in samples]
    return [sum(getattr(each, phase) for phase in part.phases) for each in samples]


def _best(best: Choice, stage: Stage, trials: tuple[Trial, ...]) -> Choice:
    """Each part's fastest candidate, where one is faster for sure."""
    for part in stage.parts:
        faster = [
            (verdict.after, trial.choice)
            for trial in trials
            for verdict in trial.verdicts
            if verdict.part == part.name and verdict.answer == "faster"
        ]
        if faster:
            _, winner = min(faster, key=lambda each: each[0] or 0.0)
            best = taken(best, winner, part)
    return best


def _confirmed(search: _Search, state: Tuned) -> Tuned:
    """All that was chosen, measured beside the default: settings that are good one by one may not
    go together, and then the default stays."""
    trials = search.stage(
        TOGETHER,
        (_WHOLE,),
        state.default,
        {"chosen": state.chosen},
        state.repetitions,
        beside=DEFAULT,
    )
    (verdict,) = trials[-1].verdicts
    holds = verdict.answer == "faster"
    return dataclasses.replace(
        state,
        chosen=state.chosen if holds else state.default,
        trials=(*state.trials, *trials),
    )


def _reference(place: Place, default: Choice, scratch: Path, shown: Shown) -> Came:
    came = rounds.run(place, {DEFAULT: default}, 1, shown.measuring.advance, scratch=scratch)
    if came[DEFAULT].problem:
        raise DeviceError(
            f"{place.session.name}: the default settings cannot be run ({came[DEFAULT].problem}); "
            "see whether `imp-deploy bench` can measure there."
        )
    return came[DEFAULT]


def _runs(left: list[Stage], device: DeviceRecord, tokens: int, state: Tuned) -> int:
    """The most runs there can be: the default's answer, each candidate's, the repetitions of each
    stage, and those of the choice beside the default."""
    counts = [len(stage.candidates(device, tokens, state.chosen)) for stage in left]
    n = state.repetitions
    return 1 + sum(count + (count + 1) * n for count in counts if count) + 1 + 2 * n


def _longest_piece(place: Place) -> int:
    """Tokens of the prompt that go through the LLM together."""
    return max(place.variant.vision.visual_tokens or 0, place.protocol.text_tokens or 0)


def _seconds(samples: tuple[Sample, ...]) -> tuple[Seconds, ...]:
    return tuple(sample.seconds for sample in samples)


def total_saved(tuned: Tuned) -> float | None:
    """The share of T_total that the choice saves, of the medians; None where it is the default."""
    last = [trial for trial in tuned.trials if trial.stage == TOGETHER and trial.samples]
    if not tuned.changed or len(last) != 2:
        return None
    before, after = (statistics.median(s.total for s in trial.samples) for trial in last)
    return 1 - after / before


def _fresh(key: choices.Key, subject: Subject, settings: Settings, device: DeviceRecord) -> Tuned:
    (variant,) = subject.variants
    protocol = protocol_for(settings, device, subject.picture_sha256)
    default = Choice(threads=protocol.threads, cpu_mask=protocol.cpu_mask)
    return Tuned(
        key=key,
        bits=variant.llm.bits,
        resolution=variant.vision.resolution or 0,
        vision_bits=variant.vision.bits,
        repetitions=protocol.repetitions,
        generated_tokens=protocol.generated_tokens,
        default=default,
        chosen=default,
        stages=(),
        trials=(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        complete=False,
    )


def _kept(key: choices.Key) -> Tuned | None:
    try:
        return choices.kept(key)
    except BadInput:  # it is only a cache: what cannot be read is found anew
        return None


def _goes_on(known: Tuned, fresh: Tuned) -> bool:
    same = ("repetitions", "generated_tokens", "default")
    return all(getattr(known, name) == getattr(fresh, name) for name in same)


def _run_name(key: choices.Key) -> str:
    return f"tune-{key.digest}"


def _place(
    session: Session,
    subject: Subject,
    program: Program,
    settings: Settings,
    device: DeviceRecord,
    key: choices.Key,
    shown: Shown,
) -> Place:
    deployed = bring(session, subject, program, shown.pushing, shown.say)
    return Place(
        session=session,
        subject=subject,
        program=program,
        protocol=protocol_for(settings, device, subject.picture_sha256),
        places=deployed.paths,
        run=_run_name(key),
        timeout=settings.timeout,
    )


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    busy = "Another imp-deploy is tuning the same files on the same device; wait for it to end."
    with hold(path.with_name(f".{path.name}.lock"), busy):
        yield
