"""The sentences that every form of the report shares."""

from __future__ import annotations

from imp_deploy.bench.report import paper
from imp_deploy.bench.report.rows import Group

TITLE = "Imp on devices: measured latency"

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

BANDWIDTH = (
    "Each generated token needs all of the language model's weights once: near 100 % the memory is "
    "the limit of S_gen, and far below something else is, such as arithmetic, clocks or threads."
)
COPY_TEST = (
    "The memory bandwidth is that of a copy test on the same cores, bytes read plus bytes written; "
    "a share above 100 % means that caches held some of the weights."
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


def lead(groups: tuple[Group, ...]) -> str:
    """How much there is, and from when."""
    rows = [row for group in groups for row in group.rows]
    counts = []
    for standing in HEADINGS:
        count = sum(len(g.rows) for g in groups if g.standing == standing)
        if count:
            counts.append(f"{count} {standing}")
    days = sorted({row.date[:10] for row in rows})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    noun = "result" if len(rows) == 1 else "results"
    return f"{len(rows)} {noun} ({', '.join(counts)}), measured {when}."
