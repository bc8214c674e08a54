"""The sentences that every form of the report shares."""

from __future__ import annotations

from collections.abc import Iterable

from imp_deploy.bench.report import marks, paper, remarks
from imp_deploy.bench.report.contents import Contents

TERMS = (
    ("T_VE", "seconds from the decoded image to its embeddings, preprocessing included"),
    ("S_prompt", "tokens per second while the language model reads text and visual tokens"),
    ("S_gen", "generated tokens per second, without the first, which the prompt's pass gives"),
    ("T_total", "seconds for image, prompt, generation and the rest, without loading the model"),
)

STATISTICS = (
    "Figures are medians of the measured samples; warm-ups are left out. The range is the 5th to "
    "the 95th percentile. Dates are UTC."
)

RATIOS = (
    "Ratios are ours divided by the paper's: for T_VE and T_total a ratio below 1 is faster than "
    "the paper, for S_prompt and S_gen one above 1."
)

SOURCE = f"The paper's figures: {paper.SOURCE}."

CACHED = (
    "Text cached: the text before the image was in the language model's cache before each "
    "repetition, as it is from a second question on. S_prompt counts only the tokens that were "
    "decoded, so that they over S_prompt are still the seconds of the prompt. It is no protocol of "
    "the paper's, and stands beside none."
)
TUNED = (
    "Tuned: with the cores, threads and other settings that `imp-deploy tune` found on this device "
    "for this variant, and that change no token of its answer."
)

BANDWIDTH = (
    "Each generated token needs all of the language model's weights once: near 100 % the memory is "
    "the limit of S_gen, and far below something else is, such as arithmetic, clocks or threads."
)
COPY_TEST = (
    "The memory bandwidth is that of a copy test on the same cores, bytes read plus bytes written; "
    "a share above 100 % means that caches held some of the weights."
)

ACCURACY_HEADING = "Accuracy"
DISTANCE_HEADING = "Distance from the reference"

ACCURACY = (
    "An accuracy stands with its 95 % confidence interval, over questions drawn like these, and "
    "with how many were asked. It belongs to a row when it is of the very same files and the same "
    "llama.cpp, wherever it was computed: answers are greedy, so that a device changes few of "
    "them, by rounding. What is not complete has no score."
)
PARETO_TIMED = (
    "★ marks a Pareto-optimal accuracy: no other variant of the table is at least as good in this "
    "accuracy, in T_total and in size, and better in one of them."
)
PARETO_UNTIMED = (
    "In tables without times, and in those of emulated or incomplete measurements, T_total does "
    "not count."
)
PARETO = (
    "★ marks a Pareto-optimal accuracy: no other variant of the table is at least as good in this "
    "accuracy and in size, and better in one of them."
)
PARETO_POINT = (
    "Each benchmark has its own marks, and a variant that stands alone has none. They go by point "
    "estimates: a difference inside the confidence intervals may be chance."
)
DISTANCE = (
    "The variant against its 16-bit reference, teacher-forced on the reference's own answers: KL "
    "divergence of the next token's distribution, share of positions with the same most likely "
    "token, perplexity of those answers relative to the reference's, and cosines of the visual "
    "embeddings."
)

HEADINGS = {
    "measured": "Measured",
    "incomplete": "Incomplete",
    "emulated": "Emulated",
    "emulated and incomplete": "Emulated and incomplete",
}

_EMULATED = (
    "These devices are emulated: their times say nothing about a phone and stand beside no real "
    "ones."
)
_INCOMPLETE = (
    "These measurements lack repetitions, so that their medians may still move; they stand beside "
    "no complete ones and no figures of the paper."
)
CAUTIONS = {
    "measured": "",
    "incomplete": _INCOMPLETE,
    "emulated": _EMULATED,
    "emulated and incomplete": f"{_EMULATED} {_INCOMPLETE}",
}


def title(shown: Contents) -> str:
    """By what the report holds."""
    if shown.groups:
        also = " and accuracy" if shown.columns else " and quality" if shown.families else ""
        return f"Measured latency{also}"
    return "Measured accuracy" if shown.columns else "Measured quality"


def lead(shown: Contents) -> str:
    """How much there is, and from when."""
    rows = [row for group in shown.groups for row in group.rows]
    counts = []
    for standing in HEADINGS:
        count = sum(len(g.rows) for g in shown.groups if g.standing == standing)
        if count:
            counts.append(f"{count} {standing}")
    parts = []
    if rows:
        what = f"{_count(len(rows), 'result')} ({', '.join(counts)})"
        parts.append(f"{what}, measured {_days(row.date for row in rows)}.")
    if answers := shown.answers:
        days = _days(answer.date for answer in answers)
        parts.append(f"{_count(len(answers), 'evaluation')}, made {days}.")
    if distances := [d for variant in shown.variants for d in variant.distances]:
        days = _days(distance.date for distance in distances)
        parts.append(f"{_count(len(distances), 'measurement')} of quality, made {days}.")
    return " ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _days(dates: Iterable[str]) -> str:
    days = sorted({date[:10] for date in dates})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def reading(shown: Contents) -> tuple[str, ...]:
    """The sentences about accuracies that this report needs."""
    found: list[str] = []
    marks_there = {mark for group in shown.groups for row in group.rows for mark in row.marks}
    found += [
        text for mark, text in (("text cached", CACHED), ("tuned", TUNED)) if mark in marks_there
    ]
    if shown.columns:
        found.append(ACCURACY)
        if any(marks.timed(group) for group in shown.groups):
            found.append(f"{PARETO_TIMED} {PARETO_UNTIMED}")
        else:
            found.append(PARETO)
        found.append(PARETO_POINT)
    if any(variant.distances for variant in shown.variants):
        found.append(DISTANCE)
    return tuple(found)


def papers_accuracies(shown: Contents) -> bool:
    """Whether one of the paper's stands in the report."""
    return any(
        remarks.printed(variant, column) is not None
        for variant in shown.variants
        for column in shown.columns
    )
