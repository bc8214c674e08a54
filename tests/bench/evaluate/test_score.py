"""Marks, scores and intervals, by hand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from scipy.stats import binomtest

from imp_deploy.bench.evaluate.intervals import bootstrap, wilson
from imp_deploy.bench.evaluate.score import score
from imp_deploy.bench.tasks import demo
from imp_deploy.bench.tasks.table import TASKS, task
from imp_deploy.bench.tasks.task import FilePicture, Marked, Question, Totals
from imp_deploy.errors import BadInput

PICTURE = FilePicture("a.png", Path("a.png"))


def marked(marks: Sequence[float], stratum: str = "", group: str = "") -> list[Marked]:
    return [
        Marked(Question(f"{stratum}{n}", "?", PICTURE, "", stratum, group), "", mark, "")
        for n, mark in enumerate(marks)
    ]


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (0, 20), (7, 9), (470, 500)])
def test_the_interval_of_a_share_is_wilsons(right: int, count: int) -> None:
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson(right / count, count) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_marks_in_between_is_no_narrower_than_their_spread() -> None:
    marks = [0.3, 0.6, 1.0, 0.0, 0.9] * 40
    mean = sum(marks) / len(marks)
    spread = math.sqrt(sum((m - mean) ** 2 for m in marks) / len(marks) / len(marks))
    low, high = wilson(mean, len(marks))
    assert low < mean - 1.96 * spread < mean + 1.96 * spread < high


def test_the_bootstrap_covers_what_the_normal_approximation_does() -> None:
    answers = marked([1.0] * 80 + [0.0] * 20)
    low, high = bootstrap(answers, lambda drawn: sum(m.mark for m in drawn) / len(drawn))
    assert low == pytest.approx(0.8 - 1.96 * 0.04, abs=0.015)
    assert high == pytest.approx(0.8 + 1.96 * 0.04, abs=0.015)


def test_units_that_are_all_alike_leave_doubt() -> None:
    """Resampling five right answers gives five right answers, and no certainty."""
    total = dataclasses.replace(
        demo.TASK, total=lambda m: Totals(100 * min(x.mark for x in m)), most=100.0
    )
    for answers in (marked([1] * 5), marked([1, 1], "a", "one") + marked([1, 1], "b", "two")):
        found = score(total, answers)
        assert found.value == 100
        assert 30 < found.low < 70


def test_a_plain_mean_with_parts_of_its_own_has_wilsons_interval() -> None:
    total = dataclasses.replace(
        demo.TASK, total=lambda m: Totals(100 * sum(x.mark for x in m) / len(m), {"yes": 1.0})
    )
    found = score(total, marked([1, 0.6, 0.3, 0] * 10))
    low, high = wilson(0.475, 40)
    assert (found.low, found.high) == pytest.approx((100 * low, 100 * high))


def test_groups_are_drawn_whole_and_strata_keep_their_sizes() -> None:
    pairs = [m for n in range(5) for m in marked([1, 0], "a", f"pair {n}")]
    answers = pairs + marked([0] * 5, "b")

    def value(drawn: Sequence[Marked]) -> float:
        assert [m.question.stratum for m in drawn].count("b") == 5
        first = [m.mark for m in drawn if m.question.group == "pair 0"]
        assert first.count(1) * 2 == len(first)
        return len(drawn)

    assert bootstrap(answers, value) == (15, 15)


def test_the_plain_mean_with_its_parts() -> None:
    answers = marked([1, 1, 1, 0], "colour") + marked([1, 0, 0, 0], "shape")
    found = score(demo.TASK, answers)
    assert (found.value, found.most) == (50, 100)
    assert found.low < 50 < found.high
    assert found.parts == {"colour": 75, "shape": 25}


def test_a_total_of_the_tasks_own() -> None:
    odd = dataclasses.replace(
        demo.TASK, total=lambda m: Totals(2000 * sum(x.mark for x in m) / len(m)), most=2000.0
    )
    found = score(odd, marked([1, 0] * 50))
    assert found.value == 1000
    assert 700 < found.low < 1000 < found.high < 1300


def test_the_demo_task_takes_the_one_right_word() -> None:
    question = Question("1", "What colour?", PICTURE, "red")
    assert demo.mark(question, "red") == (1, "red")
    assert demo.mark(question, " Red ") == (1, "red")
    for wrong in ("", "red.", "red circle", "blue", "reddish"):
        assert demo.mark(question, wrong)[0] == 0


def test_every_task_of_the_paper_is_there() -> None:
    ours = [name for name in TASKS if name not in ("demo", "folder")]
    assert " ".join(ours) == (
        "vqav2 gqa vizwiz scienceqa textvqa pope mme mmbench mmbench-cn mmvet"
    )
    with pytest.raises(BadInput, match="There is no task 'vqa'; there are vqav2, gqa"):
        task("vqa")
