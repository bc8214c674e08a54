"""Whether a candidate is better than what it was measured beside."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from imp_deploy.bench.tune.choice import Verdict

MINIMUM = 0.02
"""The share of the time that a candidate must save: less is not worth another setting."""

LEAST = 3
"""Repetitions below which nothing is decided."""


def decide(part: str, before: Sequence[float], after: Sequence[float]) -> Verdict:
    """On seconds of the same work, one of each per round. A candidate is faster when its median
    is lower by more than `MINIMUM` and it won every round against every other: with dozens of
    comparisons in a search, anything weaker keeps noise in a third of them (simulated: overlapping
    quartiles; with this rule and the same for all chosen together, in less than 1 % at 5)."""
    if min(len(before), len(after)) < LEAST:
        reason = f"fewer than {LEAST} repetitions decide nothing"
        old, new = (statistics.median(each) if each else None for each in (before, after))
        return Verdict(part=part, before=old, after=new, answer="undecided", reason=reason)
    old, new = statistics.median(before), statistics.median(after)
    saved = 1 - new / old if old > 0 else 0.0
    change = f"{abs(saved):.1%} {'less' if saved > 0 else 'more'}"
    if saved <= MINIMUM:
        reason = f"{change} time, and {MINIMUM:.0%} less count"
        return Verdict(part=part, before=old, after=new, answer="not faster", reason=reason)
    if max(after) >= min(before):
        reason = f"{change} time, but the repetitions of both overlap"
        return Verdict(part=part, before=old, after=new, answer="noise", reason=reason)
    return Verdict(part=part, before=old, after=new, answer="faster", reason=f"{change} time")
