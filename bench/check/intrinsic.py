"""Compares two measurements of quality against the same reference."""

from __future__ import annotations

import math
from collections.abc import Mapping

from imp_deploy.bench.check import resample
from imp_deploy.bench.check.figures import Intrinsic, named
from imp_deploy.bench.check.rows import ALPHA, Answer, Evidence, Row, decide, incomparable
from imp_deploy.quality import METRICS

_UNITS = {"mean_kl": "nats", "p99_kl": "nats", "top1_agreement": "%"}
_CHANGE_UNITS = {**_UNITS, "top1_agreement": "points", "perplexity_ratio": "%"}
_BETTER_UP = frozenset({"top1_agreement", "mean_cosine", "worst_cosine"})
# A share of the baseline, and the least in nats, far above what another processor's rounding makes
# (1e-5) and below what 2 bits instead of 4 do to a small model (5e-4, measured on the demo).
_KL_SHARE = 0.1
_KL_LEAST = {"mean_kl": 1e-4, "p99_kl": 1e-3}
_MINIMUM = {
    "top1_agreement": 0.5,  # points
    "perplexity_ratio": 0.5,  # percent
    "mean_cosine": 0.001,
    "worst_cosine": 0.001,
}


def compare(before: Intrinsic, after: Intrinsic) -> tuple[Row, ...]:
    old, new = before.metrics(), after.metrics()
    if obstacle := _obstacle(before, after):
        return tuple(
            incomparable(
                "quality",
                after.subject,
                metric,
                obstacle,
                baseline=_shown(metric, old[metric]),
                candidate=_shown(metric, new[metric]),
                unit=_UNITS.get(metric, ""),
            )
            for metric in METRICS
        )
    found = resample.compare(_columns(before, before), _columns(after, before))
    return tuple(_row(metric, before, after, old[metric], new[metric], found) for metric in METRICS)


def _obstacle(before: Intrinsic, after: Intrinsic) -> str:
    if before.task.sha256 != after.task.sha256 or set(before.items) != set(after.items):
        return (
            f"The questions are not the same: {before.task.asked} in the baseline "
            f"({before.task.sha256[:8]}), {after.task.asked} now ({after.task.sha256[:8]}); ask "
            "the baseline's, or accept the new ones with --update."
        )
    pictures = {before.pictures_sha256, after.pictures_sha256} - {""}
    if len(pictures) > 1:
        return (
            "The pictures are not the same; measure on the baseline's, or accept the new ones with "
            "--update."
        )
    if before.reference_sha256 != after.reference_sha256:
        return (
            f"The references are not the same files ({named('', before.reference).strip()} in the "
            f"baseline, {named('', after.reference).strip()} now); measure against the baseline's "
            "reference, or accept the new one with --update."
        )
    if before.max_tokens != after.max_tokens:
        return (
            f"The reference's answers have at most {before.max_tokens} tokens in the baseline and "
            f"{after.max_tokens} now; measure with --max-tokens {before.max_tokens}."
        )
    return ""


def _columns(measured: Intrinsic, order: Intrinsic) -> resample.Columns:
    items = [measured.items[name] for name in order.items]
    return resample.columns(
        [item.kl for item in items],
        [[c == "1" for c in item.agree] for item in items],
        [item.lost for item in items],
        [item.cosine[1] for item in items],
    )


def _row(
    metric: str,
    before: Intrinsic,
    after: Intrinsic,
    old: float,
    new: float,
    found: Mapping[str, resample.Difference],
) -> Row:
    relative = metric == "perplexity_ratio"
    change = 100 * (new / old - 1) if relative else _shown(metric, new - old)
    minimum = _MINIMUM.get(metric) or max(_KL_SHARE * old, _KL_LEAST[metric])
    sign = -1 if metric in _BETTER_UP else 1
    evidence = Evidence(n=len(after.items))
    answer: Answer = "ok"
    if before.items == after.items:
        reason = f"All {len(after.items)} questions gave the same."
    elif metric == "worst_cosine":
        # The least of all values has no sampling distribution worth the name: a plain threshold.
        if abs(change) >= minimum:
            answer = "regressed" if sign * change > 0 else "improved"
        reason = f"The worst of all visual embeddings; a change by {minimum:g} counts."
    else:
        low, high = (
            100 * math.expm1(end) if relative else _shown(metric, end)
            for end in (found[metric].low, found[metric].high)
        )
        p = found[metric].p
        evidence = Evidence(n=len(after.items), p=p, low=low, high=high)
        most = max(sign * low, sign * high)
        answer = decide(worse=sign * change, most=most, p=p, minimum=minimum, margin=minimum)
        unit = _CHANGE_UNITS.get(metric, "")
        minimum_text = f"{minimum:.3g} {unit}".strip()
        reason = _reason(answer, p, f"{low:+.3g} and {high:+.3g} {unit}".strip(), minimum_text)
        if answer in ("regressed", "improved", "ok") and len(after.items) < resample.FEWEST:
            answer = "inconclusive"
            reason = (
                f"{len(after.items)} questions are too few to tell; measure on "
                f"{resample.FEWEST} or more."
            )
    return Row(
        kind="quality",
        subject=after.subject,
        metric=metric,
        unit=_UNITS.get(metric, ""),
        baseline=_shown(metric, old),
        candidate=_shown(metric, new),
        change=change,
        change_unit=_CHANGE_UNITS.get(metric, ""),
        answer=answer,
        reason=reason,
        evidence=evidence,
    )


def _reason(answer: Answer, p: float, between: str, minimum: str) -> str:
    facts = f"The change is between {between} (permutation p = {p:.2g})"
    if answer == "ok":
        return f"{facts}, so that a change for the worse by {minimum} is ruled out."
    if answer == "inconclusive":
        return (
            f"{facts}: a change for the worse by {minimum} is neither ruled out nor shown "
            f"(p < {ALPHA}); measure on more questions."
        )
    return f"{facts}; a change by {minimum} counts."


def _shown(metric: str, value: float) -> float:
    """Shares as percentages."""
    return 100 * value if metric == "top1_agreement" else value
