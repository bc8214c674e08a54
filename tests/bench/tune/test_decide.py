"""What is tried, what counts as faster, and what as another answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imp_deploy.bench.tune import search
from imp_deploy.bench.tune.choice import Choice, Trial, Verdict
from imp_deploy.bench.tune.compare import compare
from imp_deploy.bench.tune.decide import decide
from imp_deploy.bench.tune.stages import STAGES, names, taken
from imp_deploy.results import Core, DeviceRecord
from imp_deploy.runner import RunSettings, Seconds
from tests.bench.report import made

PHONE = Choice(threads=6, cpu_mask="fc")
HOST = replace(made.PHONE, kind="host", cores=tuple(Core(cpu=i, max_khz=0) for i in range(8)))
BY_NAME = {stage.name: stage for stage in STAGES}


def tried(stage: str, device: DeviceRecord, best: Choice, tokens: int = 196) -> dict[str, Choice]:
    return BY_NAME[stage].candidates(device, tokens, best)


@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [
        ([1.0, 1.01, 1.02, 1.0, 1.03], [0.9, 0.91, 0.9, 0.92, 0.9], "faster"),
        ([1.0, 1.01, 1.02, 1.0, 1.03], [1.1, 1.12, 1.1, 1.12, 1.1], "not faster"),
        ([1.0] * 5, [0.985] * 5, "not faster"),  # certain, and too little
        ([1.0, 1.3, 0.9, 1.2, 0.8], [0.9, 1.2, 0.8, 1.0, 0.85], "noise"),
        ([1.0, 1.0], [0.5, 0.5], "undecided"),
        ([1.0], [0.5], "undecided"),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], "not faster"),
        ([1.0, 1.0, 1.0], [0.9, 0.9, 0.9], "faster"),
    ],
)
def test_only_what_is_faster_for_sure_and_by_enough_is_taken(
    before: list[float], after: list[float], answer: str
) -> None:
    """Otherwise the noise of a warm phone chooses its settings."""
    assert decide("vision", before, after).answer == answer


def test_one_slow_repetition_of_the_default_is_no_gain_and_hides_none() -> None:
    assert decide("all", [1.0, 1.0, 1.0, 1.0, 9.0], [0.8, 0.8, 0.8, 0.8, 0.9]).answer == "faster"
    assert decide("all", [1.0, 1.0, 1.0, 1.0, 9.0], [0.8, 0.8, 0.8, 0.8, 3.0]).answer == "noise"
    assert decide("all", [1.0, 1.0, 1.0, 1.0, 9.0], [1.0, 1.0, 1.0, 1.0, 1.0]).answer != "faster"


def test_the_same_settings_are_hardly_ever_faster_than_themselves() -> None:
    """A search compares a dozen times: what holds once in ten times always finds something."""
    random = np.random.default_rng(0)
    times = random.normal(1.0, 0.05, size=(2000, 2, 5)).tolist()
    faster = sum(decide("all", before, after).answer == "faster" for before, after in times)
    assert faster < 0.01 * len(times)


def test_the_kinds_of_cores_of_a_phone() -> None:
    """An SM8650: two small cores, two kinds of big ones, and the largest."""
    found = tried("cores", made.PHONE, PHONE)
    assert [(c.threads, c.cpu_mask) for c in found.values()] == [(4, "9c"), (8, "")]


def test_fewer_threads_on_the_cores_in_use() -> None:
    found = tried("threads", made.PHONE, PHONE)
    assert list(found) == ["threads 5", "threads 4", "threads 3", "threads 1"]
    settings = found["threads 4"].settings
    assert (settings.threads_vision, settings.threads_prompt, settings.threads_generate) == (
        4,
        4,
        4,
    )
    assert (found["threads 4"].threads, found["threads 4"].cpu_mask) == (6, "fc")
    assert list(tried("threads", HOST, Choice(threads=0, cpu_mask=""))) == [
        "threads 7",
        "threads 4",
    ]


def test_cores_of_the_host_and_of_emulated_phones_are_not_told_apart() -> None:
    assert tried("cores", HOST, Choice(threads=0, cpu_mask="")) == {}
    assert tried("cores", made.EMULATED, PHONE) == {}
    assert tried("threads", made.EMULATED, PHONE) == {}


def test_batches_that_cut_nothing_are_not_tried() -> None:
    assert list(tried("ubatch", HOST, PHONE, 196)) == ["ubatch 64", "ubatch 128"]
    assert list(tried("ubatch", HOST, PHONE, 729)) == ["ubatch 64", "ubatch 128", "ubatch 256"]
    assert tried("ubatch", HOST, PHONE, 16) == {}


def test_a_quantized_cache_needs_flash_attention() -> None:
    off = replace(PHONE, settings=RunSettings(flash_attention="off"))
    assert list(tried("cache", HOST, PHONE)) == ["cache q8_0"]
    assert tried("cache", HOST, off) == {}


def trial(label: str, choice: Choice, *verdicts: Verdict) -> Trial:
    return Trial(
        stage="threads",
        label=label,
        choice=choice,
        used=None,
        samples=(),
        same_tokens=True,
        logit_difference=0.0,
        verdicts=verdicts,
    )


def verdict(part: str, after: float, answer: str) -> Verdict:
    return Verdict(part=part, before=1.0, after=after, answer=answer, reason="")  # type: ignore[arg-type]


def test_each_phase_takes_the_best_for_itself() -> None:
    """Phases do not overlap: what is good for the tower need not be for the LLM."""
    found = tried("threads", made.PHONE, PHONE)
    trials = (
        trial("now", PHONE),
        trial(
            "5",
            found["threads 5"],
            verdict("vision", 0.9, "faster"),
            verdict("prompt", 0.99, "not faster"),
            verdict("generate", 0.8, "faster"),
        ),
        trial(
            "4",
            found["threads 4"],
            verdict("vision", 0.8, "faster"),
            verdict("prompt", 0.7, "noise"),
            verdict("generate", 0.85, "faster"),
        ),
    )
    best = search._best(PHONE, BY_NAME["threads"], trials)
    assert best == replace(PHONE, settings=RunSettings(threads_vision=4, threads_generate=5))


@pytest.mark.parametrize("answer", ["changed", "failed", "undecided", "noise", "not faster"])
def test_in_doubt_the_default_stays(answer: str) -> None:
    q8 = tried("cache", HOST, PHONE)["cache q8_0"]
    assert (
        search._best(PHONE, BY_NAME["cache"], (trial("q8", q8, verdict("LLM", 0.1, answer)),))
        == PHONE
    )


def test_a_part_takes_nothing_but_its_own() -> None:
    flash = tried("flash attention", HOST, PHONE)["flash attention off"]
    vision, llm = BY_NAME["flash attention"].parts
    assert taken(PHONE, flash, vision).settings == RunSettings(flash_attention_vision="off")
    assert taken(PHONE, flash, llm).settings == RunSettings(flash_attention="off")
    assert names(taken(PHONE, flash, llm).settings) == "flash attention off"
    cores = tried("cores", made.PHONE, PHONE)["cores ff"]
    (everything,) = BY_NAME["cores"].parts
    assert taken(flash, cores, everything) == replace(flash, threads=8, cpu_mask="")


def test_the_seconds_of_a_part() -> None:
    """All of them together are the total, with what lies between."""
    seconds = Seconds(load=9.0, vision=1.0, prompt=2.0, generate=4.0, total=7.5)
    assert search.spent((seconds,), BY_NAME["flash attention"].parts[1]) == [6.0]
    assert search.spent((seconds,), BY_NAME["cores"].parts[0]) == [7.5]


def test_the_first_token_that_differs_and_the_logits_up_to_there(tmp_path: Path) -> None:
    """Behind it the texts are others, and so are their logits."""
    one = np.zeros((3, 5), "<f4")
    two = one.copy()
    two[0, 1], two[1, 2], two[2, 3] = 0.25, -0.5, 100.0
    for name, values in (("one", one), ("two", two)):
        values.tofile(tmp_path / name)
    files = tmp_path / "one", tmp_path / "two"
    same = compare((1, 2, 3), files[0], (1, 2, 3), files[1])
    assert (same.first, same.logits) == (None, 100.0)
    other = compare((1, 2, 3), files[0], (1, 7, 3), files[1])
    assert (other.first, other.logits) == (2, 0.5)
    two[0, 0] = np.inf
    two.tofile(files[1])
    assert compare((1, 2, 3), files[0], (1, 2, 3), files[1]).logits is None
