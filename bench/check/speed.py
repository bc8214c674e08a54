"""Compares the raw samples of two measurements on the same device."""

from __future__ import annotations

import dataclasses
import statistics

from imp_deploy.bench.check import ranks
from imp_deploy.bench.check.figures import Speed
from imp_deploy.bench.check.rows import ALPHA, Answer, Evidence, Limits, Row, decide, incomparable
from imp_deploy.results import METRICS

_RATES = frozenset({"S_prompt", "S_gen"})


def compare(before: Speed, after: Speed, limits: Limits) -> tuple[Row, ...]:
    if obstacle := _obstacle(before, after):
        return tuple(
            incomparable(
                "speed",
                after.subject,
                metric,
                obstacle,
                baseline=_median(before, metric),
                candidate=_median(after, metric),
                unit=unit(metric),
            )
            for metric in METRICS
        )
    return tuple(_row(metric, before, after, limits) for metric in METRICS)


def unit(metric: str) -> str:
    return "tok/s" if metric in _RATES else "s"


def _obstacle(before: Speed, after: Speed) -> str:
    if not after.complete or not after.samples["T_total"]:
        return (
            f"The candidate has {len(after.samples['T_total'])} of {after.protocol.repetitions} "
            "repetitions; run `imp-deploy bench` again, it goes on."
        )
    if before.device.emulated or after.device.emulated:
        return (
            "Times of an emulated device say nothing about a phone; measure a real one, or leave "
            "speed out with --only."
        )
    different = [
        *_differences("device", before.device, after.device, leave=("kind",)),
        *_differences("runner", before.runner, after.runner),
        *_differences("protocol", before.protocol, after.protocol),
    ]
    if not different:
        return ""
    return (
        f"Not the same {'; '.join(different)}; measure as for the baseline, or accept the new "
        "measurement with --update."
    )


def _differences(
    what: str, before: object, after: object, *, leave: tuple[str, ...] = ()
) -> list[str]:
    assert dataclasses.is_dataclass(before)
    names = (f.name for f in dataclasses.fields(before) if f.name not in leave)
    return [
        f"{what} {path.replace('_', ' ')} ({_short(old)} in the baseline, {_short(new)} now)"
        for name in names
        for path, old, new in _parts(name, getattr(before, name), getattr(after, name))
        if old != new
    ]


def _parts(name: str, old: object, new: object) -> list[tuple[str, object, object]]:
    """The pair, or, of two dataclasses of one kind, the pairs of their fields."""
    if not dataclasses.is_dataclass(old) or type(old) is not type(new):
        return [(name, old, new)]
    fields = (field.name for field in dataclasses.fields(old))
    return [(f"{name} {field}", getattr(old, field), getattr(new, field)) for field in fields]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _median(measured: Speed, metric: str) -> float | None:
    values = measured.samples[metric]
    return statistics.median(values) if values else None


def _row(metric: str, before: Speed, after: Speed, limits: Limits) -> Row:
    old, new = before.samples[metric], after.samples[metric]
    evidence = Evidence(n=len(new), n_baseline=len(old))
    answer: Answer
    change: float | None
    if sorted(old) == sorted(new):
        answer, change, reason = "ok", 0.0, "All samples are the same."
    elif min(*old, *new) <= 0:
        answer, change = "incomparable", None
        reason = (
            f"Some repetitions have no {metric}, as they took no time or made no tokens; measure "
            "again with `imp-deploy bench`."
        )
    else:
        found = ranks.compare(old, new)
        change = 100 * (found.ratio - 1)
        low = None if found.low is None else 100 * (found.low - 1)
        high = None if found.high is None else 100 * (found.high - 1)
        evidence = dataclasses.replace(evidence, p=found.p, low=low, high=high)
        rate = metric in _RATES
        end = low if rate else high
        most = None if end is None else -end if rate else end
        answer = decide(
            worse=-change if rate else change,
            most=most,
            p=found.p,
            minimum=limits.slowdown,
            margin=limits.slowdown,
        )
        reason = _reason(answer, evidence, limits.slowdown)
    return Row(
        kind="speed",
        subject=after.subject,
        metric=metric,
        unit=unit(metric),
        baseline=statistics.median(old),
        candidate=statistics.median(new),
        change=change,
        change_unit="%",
        answer=answer,
        reason=reason,
        evidence=evidence,
    )


def _reason(answer: Answer, evidence: Evidence, slowdown: float) -> str:
    known = evidence.low is not None and evidence.high is not None
    between = f"between {evidence.low:+.1f} and {evidence.high:+.1f} %" if known else "not bounded"
    facts = (
        f"{evidence.n} samples against {evidence.n_baseline}: the change is {between} "
        f"(Mann-Whitney p = {evidence.p:.2g})"
    )
    if answer == "ok":
        return f"{facts}, so that a change for the worse by {slowdown:g} % is ruled out."
    if answer == "inconclusive":
        return (
            f"{facts}: a change for the worse by {slowdown:g} % is neither ruled "
            f"out nor shown (p < {ALPHA}); measure with more --repetitions."
        )
    return f"{facts}; a change by {slowdown:g} % counts."
