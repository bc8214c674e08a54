"""Compares two evaluations of the same questions.

Questions are taken as independent, also those about one image or with the same options in another
order, whose answers are alike: with such benchmarks the p values are somewhat too small."""

from __future__ import annotations

import math

from imp_deploy.bench.check import pairs
from imp_deploy.bench.check.figures import Accuracy
from imp_deploy.bench.check.rows import ALPHA, Answer, Evidence, Limits, Row, decide, incomparable
from imp_deploy.evaluation import TaskRecord

METRIC = "mean mark"


def compare(before: Accuracy, after: Accuracy, limits: Limits) -> tuple[Row, ...]:
    if obstacle := _obstacle(before, after):
        return (
            incomparable(
                "accuracy",
                after.subject,
                METRIC,
                obstacle,
                baseline=_percent(before),
                candidate=_percent(after) if after.complete else None,
                unit="%",
            ),
        )
    ids = list(before.marks)
    found = pairs.compare([before.marks[i] for i in ids], [after.marks[i] for i in ids])
    change, low, high = (100 * v for v in (found.mean, found.low, found.high))
    answer: Answer
    if before.marks == after.marks:
        answer, reason = "ok", f"All {found.n} marks are the same."
    else:
        answer = decide(
            worse=-change, most=-low, p=found.p, minimum=limits.drop, margin=2 * limits.drop
        )
        if answer in ("regressed", "improved") and (change > 0) != (found.up > found.down):
            # Possible with fractional marks only: the test and the mean point in two directions.
            answer = "inconclusive"
        reason = _reason(answer, found, low, high, limits)
        if answer in ("ok", "improved") and (lost := _lost(before, after)) >= 2 * limits.drop:
            # Circular accuracy, accuracy+ and F1 can fall while as many answers are right.
            answer = "inconclusive"
            reason = (
                f"As many answers are right, and the score that counts fell by {lost:.2f} of 100; "
                "look at which ones changed, or accept it with --update."
            )
    return (
        Row(
            kind="accuracy",
            subject=after.subject,
            metric=METRIC,
            unit="%",
            baseline=_percent(before),
            candidate=_percent(after),
            change=change,
            change_unit="points",
            answer=answer,
            reason=reason + _score(before, after),
            evidence=Evidence(
                n=found.n,
                up=found.up,
                down=found.down,
                p=found.p,
                low=low,
                high=high,
                score_baseline=before.value,
                score=after.value,
                score_most=after.most,
            ),
        ),
    )


def _obstacle(before: Accuracy, after: Accuracy) -> str:
    if not after.complete:
        return (
            f"The candidate answered {after.answered} of {after.task.asked} questions; run "
            "`imp-deploy eval` again, it goes on."
        )
    if before.task.sha256 == after.task.sha256 and set(before.marks) == set(after.marks):
        if before.max_tokens == after.max_tokens:
            return ""
        return (
            f"Answers have at most {before.max_tokens} tokens in the baseline and "
            f"{after.max_tokens} now; evaluate with --max-tokens {before.max_tokens}."
        )
    return (
        f"The questions are not the same: {_asked(before.task)} in the baseline, "
        f"{_asked(after.task)} now; ask the baseline's, or accept the new ones with --update."
    )


def _asked(task: TaskRecord) -> str:
    seed = "" if task.seed is None else f" (seed {task.seed})"
    return f"{task.asked} of {task.questions}{seed}, {task.sha256[:8]}"


def _percent(accuracy: Accuracy) -> float:
    return 100 * math.fsum(accuracy.marks.values()) / len(accuracy.marks)


def _reason(answer: Answer, found: pairs.Paired, low: float, high: float, limits: Limits) -> str:
    facts = (
        f"{found.down} of {found.n} questions got worse and {found.up} better (McNemar "
        f"p = {found.p:.2g}), the change is between {low:+.2f} and {high:+.2f} points"
    )
    if answer == "ok":
        return f"{facts}, so that a drop by {2 * limits.drop:g} is ruled out."
    if answer == "inconclusive":
        return (
            f"{facts}: neither a drop by {2 * limits.drop:g} is ruled out nor one by "
            f"{limits.drop:g} shown (p < {ALPHA}); ask more questions."
        )
    return f"{facts}."


def _lost(before: Accuracy, after: Accuracy) -> float:
    """How far the task's own score fell, scaled to 100."""
    if before.value is None or after.value is None:
        return 0.0
    return 100 * (before.value - after.value) / after.most


def _score(before: Accuracy, after: Accuracy) -> str:
    """The task's own score, where it is not just the mean mark."""
    if before.value is None or after.value is None:
        return ""
    same = after.most == 100 and math.isclose(after.value, _percent(after), abs_tol=0.005)
    if same and math.isclose(before.value, _percent(before), abs_tol=0.005):
        return ""
    return f" {after.metric}: {before.value:.2f} before, {after.value:.2f} now, of {after.most:g}."
