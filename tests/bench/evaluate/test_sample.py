"""A sample of a benchmark stands for the whole of it, and is the same on every machine."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from imp_deploy.bench.evaluate.sample import sample
from imp_deploy.bench.evaluate.selection import digest, select
from imp_deploy.bench.tasks import demo
from imp_deploy.bench.tasks.task import FilePicture, Question
from imp_deploy.errors import BadInput

PICTURE = FilePicture("a.png", Path("a.png"))


def question(id: int, stratum: str = "", group: str = "") -> Question:
    return Question(str(id), f"Question {id}?", PICTURE, "yes", stratum, group)


def test_strata_keep_their_shares_to_within_one_question() -> None:
    questions = [question(n, "abc"[0 if n < 700 else 1 if n < 970 else 2]) for n in range(1000)]
    for limit in (1, 10, 99, 100, 999):
        counts = Counter(q.stratum for q in sample(questions, limit, seed=3))
        assert sum(counts.values()) == limit
        for name, share in (("a", 0.7), ("b", 0.27), ("c", 0.03)):
            assert abs(counts[name] - share * limit) <= 1


def test_small_strata_do_not_crowd_out_a_large_one() -> None:
    """The score is a plain mean: every question must have the same chance."""
    small = [question(10_000 + n, f"small {n % 60}") for n in range(300)]
    questions = [question(n, "large") for n in range(4000)] + small
    counts = Counter(q.stratum for q in sample(questions, 200, seed=0))
    assert abs(counts["large"] - 200 * 4000 / 4300) <= 1


def test_the_same_seed_gives_the_same_questions_in_their_order() -> None:
    """On every machine and with every Python: the names stand here."""
    questions = [question(n) for n in range(50)]
    drawn = [q.id for q in sample(questions, 6, seed=0)]
    assert drawn == sorted(drawn, key=int)
    assert drawn == [q.id for q in sample(list(reversed(questions)), 6, seed=0)][::-1]
    assert drawn != [q.id for q in sample(questions, 6, seed=1)]
    assert set(drawn) < {q.id for q in sample(questions, 12, seed=0)}


def test_groups_stay_whole_and_the_limit_holds() -> None:
    questions = [question(n, group=str(n // 4)) for n in range(40)]
    for limit, wanted in ((3, 0), (4, 4), (11, 8), (40, 40), (100, 40)):
        drawn = sample(questions, limit, seed=0)
        assert len(drawn) == wanted
        assert all(count == 4 for count in Counter(q.group for q in drawn).values())


def test_nothing_left_to_ask_is_refused() -> None:
    with pytest.raises(BadInput, match="larger --limit"):
        select(demo.TASK, None, limit=0)
    with pytest.raises(BadInput, match="no split 'val'"):
        select(demo.TASK, None, split="val")


def test_what_was_asked_is_known_by_its_hash() -> None:
    """Comparing two evaluations question by question rests on it."""
    one = select(demo.TASK, None)
    assert one.record.asked == one.record.questions == 500
    assert one.record.seed is None
    half = select(demo.TASK, None, limit=250)
    assert (half.record.asked, half.record.seed) == (250, 0)
    assert half.record.sha256 != one.record.sha256
    assert half == select(demo.TASK, None, limit=250)
    picture = half.questions[0].picture
    questions = tuple(Question(str(n), "Is it?", picture, "yes") for n in (1, 2))
    other = Question("2", "Is it?", picture, "no")
    assert digest(questions) != digest((questions[0], other))
    assert digest(questions) != digest(questions[::-1])


def test_a_part_of_a_benchmark_says_so() -> None:
    """A download that broke off gives a score that looks like any other."""
    task = dataclasses.replace(demo.TASK, published={"test": (499, 1000)})
    warning = select(task, None, limit=20).record.warning
    assert "499 or 1000 questions and 500 were read" in warning
    assert select(demo.TASK, None).record.warning == ""


def test_files_that_a_task_does_not_need_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="leave --data out"):
        select(demo.TASK, tmp_path)
