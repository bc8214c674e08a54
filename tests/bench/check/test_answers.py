"""Each kind of figure and each answer: a gate that answers wrongly is worse than none."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from imp_deploy.bench.check.candidate import find
from imp_deploy.bench.check.compare import compare
from imp_deploy.bench.check.figures import KINDS, Figures, Kind, of_evaluation, of_result
from imp_deploy.bench.check.rows import Limits, Row, verdict
from imp_deploy.bundle import Bundle
from imp_deploy.evaluation import Evaluation
from imp_deploy.quality import Quality
from imp_deploy.results import METRICS, Result
from tests.bench.check import made
from tests.bench.report import made as timed

Made = Bundle | Evaluation | Quality | Result


class Checked(Protocol):
    def __call__(
        self,
        before: Made | None,
        after: Made | None,
        *,
        kinds: Sequence[Kind] = KINDS,
        limits: Limits | None = None,
    ) -> tuple[Row, ...]: ...


@pytest.fixture
def rows(tmp_path: Path) -> Checked:
    def checked(
        before: Made | None,
        after: Made | None,
        *,
        kinds: Sequence[Kind] = KINDS,
        limits: Limits | None = None,
    ) -> tuple[Row, ...]:
        folders = []
        for name, one in (("before", before), ("after", after)):
            folder = tmp_path / name / str(len(list(tmp_path.rglob("*"))))
            folder.mkdir(parents=True)
            folders.append(made.saved(folder, *([] if one is None else [one])))
        return compare(find(folders[0]), find(folders[1]), kinds=kinds, limits=limits)

    return checked


def by_metric(rows: Sequence[Row]) -> dict[str, Row]:
    return {row.metric: row for row in rows}


# Sizes


def test_sizes(rows: Checked) -> None:
    after = made.a_bundle(Q4_0=2026016 + 20261, Q8_0=3696160 - 20000, F16=6890976 + 34454)
    found = {row.subject: row for row in rows(made.a_bundle(), after)}
    assert found["Imp-v1.5-3B LLM 4-bit"].answer == "regressed"
    assert found["Imp-v1.5-3B LLM 4-bit"].change == pytest.approx(1.0, abs=0.001)
    assert found["Imp-v1.5-3B LLM 8-bit"].answer == "improved"
    assert found["Imp-v1.5-3B LLM 16-bit"].answer == "ok"  # 34454 of 6890976 is just below 0.5 %
    assert found["Imp-v1.5-3B vision@196 16-bit"].answer == "ok"
    strict = rows(made.a_bundle(), after, limits=Limits(growth=0.0))
    assert [r.answer for r in strict].count("regressed") == 2


def test_a_renamed_file_is_the_same_file(rows: Checked) -> None:
    bundle = made.a_bundle()
    other = tuple(replace(f, path=f"new-{f.path}") for f in bundle.files)
    assert {r.answer for r in rows(bundle, replace(bundle, files=other))} == {"ok"}


# Accuracy


def one(rows: Sequence[Row]) -> Row:
    (row,) = rows
    return row


def test_the_same_marks_are_ok(rows: Checked) -> None:
    row = one(rows(made.an_evaluation(), made.an_evaluation()))
    assert (row.answer, row.change, row.baseline, row.evidence.p) == ("ok", 0, 88, 1)


def test_a_significant_drop_is_a_regression(rows: Checked) -> None:
    row = one(rows(made.an_evaluation(), made.an_evaluation(made.marks(75))))
    assert row.answer == "regressed"
    assert row.change == pytest.approx(-3)
    assert (row.evidence.up, row.evidence.down, row.evidence.n) == (0, 15, 500)
    assert row.evidence.p == pytest.approx(2 / 2**15)
    assert row.evidence.low is not None
    assert row.evidence.high is not None
    assert row.evidence.low < -3 < row.evidence.high < 0


def test_a_rise_is_an_improvement(rows: Checked) -> None:
    assert one(rows(made.an_evaluation(made.marks(75)), made.an_evaluation())).answer == "improved"


def test_a_drop_by_chance_is_no_regression(rows: Checked) -> None:
    """Two points lost in marks that change in both directions."""
    before, after = made.marks(60), made.marks(60, first=25)
    for i in range(490, 500):
        after[f"scene-{i}"] = 0.0
    row = one(rows(made.an_evaluation(before), made.an_evaluation(after)))
    assert row.change == pytest.approx(-2)
    assert row.answer == "inconclusive"
    assert row.evidence.p is not None
    assert row.evidence.p > 0.1


def test_a_small_drop_that_rules_out_a_large_one_is_ok(rows: Checked) -> None:
    row = one(rows(made.an_evaluation(), made.an_evaluation(made.marks(62))))
    assert row.answer == "ok"
    assert "ruled out" in row.reason
    strict = Limits(drop=0.3)
    few = one(rows(made.an_evaluation(), made.an_evaluation(made.marks(62)), limits=strict))
    assert few.answer == "inconclusive"


def test_a_significant_drop_below_the_minimum_is_none(rows: Checked) -> None:
    """0.5 points of 4000 questions, p = 2e-6: real, and too small to matter."""
    before, after = made.marks(400, n=4000), made.marks(420, n=4000)
    row = one(rows(made.an_evaluation(before), made.an_evaluation(after)))
    assert row.evidence.p is not None
    assert row.evidence.p < 0.01
    assert row.answer == "ok"


def test_fractional_marks(rows: Checked) -> None:
    before = {f"q{i}": 1.0 for i in range(200)}
    after = {**before, **{f"q{i}": 0.7 for i in range(30)}}
    row = one(rows(made.an_evaluation(before), made.an_evaluation(after)))
    assert row.change == pytest.approx(-4.5)
    assert row.answer == "regressed"


def test_a_test_against_the_mean_decides_nothing(rows: Checked) -> None:
    """40 questions rise a little and 10 fall a lot: the sign test and the mean disagree."""
    before = {f"q{i}": 0.5 for i in range(100)}
    after = {**before, **{f"q{i}": 0.6 for i in range(40)}}
    after |= {f"q{i}": 0.0 for i in range(40, 50)}
    row = one(rows(made.an_evaluation(before), made.an_evaluation(after)))
    assert row.evidence.p is not None
    assert row.evidence.p < 0.01
    assert row.change == pytest.approx(-1)
    assert row.answer == "inconclusive"


def test_other_questions_are_incomparable(rows: Checked) -> None:
    other = made.an_evaluation(task=replace(made.TASK, sha256="99" * 32))
    row = one(rows(made.an_evaluation(), other))
    assert row.answer == "incomparable"
    assert "5c5c5c5c" in row.reason
    assert "99999999" in row.reason
    ids = {f"other-{i}": mark for i, mark in enumerate(made.marks().values())}
    assert one(rows(made.an_evaluation(), made.an_evaluation(ids))).answer == "incomparable"


def test_half_an_evaluation_is_incomparable(rows: Checked) -> None:
    row = one(rows(made.an_evaluation(), made.half_an_evaluation()))
    assert row.answer == "incomparable"
    assert "312 of 500" in row.reason
    assert row.candidate is None


def test_the_score_of_the_task_is_told(rows: Checked) -> None:
    score = made.an_evaluation().score
    assert score is not None
    before = made.an_evaluation(score=replace(score, metric="MME", value=1446.4, most=2000.0))
    after = made.an_evaluation(
        made.marks(75), score=replace(score, metric="MME", value=1401.2, most=2000.0)
    )
    row = one(rows(before, after))
    assert "MME: 1446.40 before, 1401.20 now, of 2000" in row.reason
    assert (row.evidence.score_baseline, row.evidence.score) == (1446.4, 1401.2)


def test_the_phone_is_not_compared_with_the_host(rows: Checked) -> None:
    found = rows(made.an_evaluation(), made.an_evaluation(device=timed.PHONE))
    assert [row.answer for row in found] == ["incomparable"] * 2
    assert "--update" in found[1].reason


# Quality


def test_the_same_quality_is_ok(rows: Checked) -> None:
    found = rows(made.a_quality(), made.a_quality())
    assert [row.answer for row in found] == ["ok"] * 6


def test_worse_quality_is_a_regression(rows: Checked) -> None:
    worse = made.a_quality(n=300, kl=0.04, flips=0.08, cosine=0.004, seed=2)
    found = by_metric(rows(made.a_quality(n=300), worse))
    assert {row.answer for row in found.values()} == {"regressed"}
    assert found["mean_kl"].change == pytest.approx(0.02, rel=0.2)
    assert found["top1_agreement"].change_unit == "points"
    better = by_metric(rows(worse, made.a_quality(n=300)))
    assert {row.answer for row in better.values()} == {"improved"}


def test_noise_that_rules_out_harm_is_ok(rows: Checked) -> None:
    """Another kernel: all divergences differ a little."""
    before, rng = made.a_quality(n=300), random.Random(4)
    items = tuple(
        replace(
            item,
            kl=tuple(v * rng.uniform(0.97, 1.03) for v in item.kl),
            log_p=tuple(v + rng.gauss(0, 1e-4) for v in item.log_p),
            mean_cosine=item.mean_cosine - 1e-6,
            worst_cosine=item.worst_cosine - 1e-5,
        )
        for item in before.items
    )
    found = rows(before, replace(before, items=items))
    assert {row.answer for row in found} == {"ok"}
    assert any(row.change for row in found)


def test_the_bounds_are_in_the_unit_of_the_change(rows: Checked) -> None:
    found = rows(made.a_quality(n=300), made.a_quality(n=300, kl=0.04, flips=0.08, seed=2))
    for row in found:
        low, high = row.evidence.low, row.evidence.high
        if row.metric != "worst_cosine":
            assert low is not None
            assert high is not None
            assert row.change is not None
            assert low < row.change < high, row.metric
            assert high - low > 0.02 * abs(row.change)


def test_a_large_divergence_may_grow_by_less_than_a_tenth(rows: Checked) -> None:
    before = made.a_quality(kl=0.3)
    for factor, answer in ((1.05, "ok"), (1.15, "regressed")):
        items = tuple(replace(i, kl=tuple(factor * v for v in i.kl)) for i in before.items)
        row = by_metric(rows(before, replace(before, items=items)))["mean_kl"]
        assert row.answer == answer
        assert row.evidence.p is not None
        assert row.evidence.p < 0.01


def test_few_questions_decide_nothing(rows: Checked) -> None:
    found = by_metric(rows(made.a_quality(n=5), made.a_quality(n=5, kl=0.5, flips=0.9, seed=2)))
    assert found["mean_kl"].answer == "inconclusive"
    assert found["top1_agreement"].answer == "inconclusive"


def test_a_wide_spread_decides_nothing(rows: Checked) -> None:
    before, after = made.a_quality(n=40, kl=0.3), made.a_quality(n=40, kl=0.3, seed=2)
    assert by_metric(rows(before, after))["mean_kl"].answer == "inconclusive"


def test_another_reference_is_incomparable(rows: Checked) -> None:
    other = made.a_quality(reference_bundle=timed.result(8, 196).bundle)
    found = rows(made.a_quality(), other)
    assert {row.answer for row in found} == {"incomparable"}
    assert "references" in found[0].reason
    assert found[0].baseline is not None
    first, second = (made.a_quality(pictures_sha256=each * 32) for each in ("ab", "cd"))
    assert {row.answer for row in rows(first, second)} == {"incomparable"}
    assert {row.answer for row in rows(first, made.a_quality())} == {"ok"}
    for changed in (made.a_quality(max_tokens=9), made.a_quality(n=100)):
        assert {row.answer for row in rows(made.a_quality(), changed)} == {"incomparable"}


# Speed


def test_a_slower_phone_is_a_regression(rows: Checked) -> None:
    slow = by_metric(rows(made.TIMED, made.scaled(made.TIMED, 1.1)))
    assert {row.answer for row in slow.values()} == {"regressed"}
    assert slow["T_total"].change == pytest.approx(10, rel=1e-4)
    assert slow["S_gen"].change == pytest.approx(-100 / 11, rel=1e-4)
    fast = by_metric(rows(made.TIMED, made.scaled(made.TIMED, 0.9)))
    assert {row.answer for row in fast.values()} == {"improved"}


def test_little_slower_is_ok_and_noise_inconclusive(rows: Checked) -> None:
    assert {row.answer for row in rows(made.TIMED, made.TIMED)} == {"ok"}
    little = by_metric(rows(made.TIMED, made.scaled(made.TIMED, 1.005)))
    assert little["T_total"].answer == "ok"
    some = by_metric(rows(made.TIMED, made.scaled(made.TIMED, 1.04)))
    assert {row.answer for row in some.values()} == {"inconclusive"}


def test_two_repetitions_decide_nothing(rows: Checked) -> None:
    few = replace(
        made.TIMED,
        samples=made.TIMED.samples[:3],
        protocol=replace(made.TIMED.protocol, repetitions=2),
    )
    found = rows(few, made.scaled(few, 1.5))
    assert {row.answer for row in found} == {"inconclusive"}
    assert "--repetitions" in found[0].reason


def test_what_must_be_the_same_for_speed(rows: Checked) -> None:
    base = made.TIMED
    others = {
        "fingerprint": replace(base, device=replace(base.device, fingerprint="new")),
        "serial": replace(base, device=replace(base.device, serial="other")),
        "runner sha256": replace(base, runner=replace(base.runner, sha256="99" * 32)),
        "protocol threads": replace(base, protocol=replace(base.protocol, threads=4)),
    }
    for word, other in others.items():
        found = rows(base, other)
        assert [row.answer for row in found] == ["incomparable"] * 4, word
        assert word in found[0].reason
        assert "--update" in found[0].reason
    usb = replace(base, device=replace(base.device, kind="usb"))
    assert {row.answer for row in rows(base, usb)} == {"ok"}


def test_emulated_and_incomplete_speeds_are_incomparable(rows: Checked) -> None:
    found = rows(timed.emulated(), timed.emulated())
    assert {row.answer for row in found} == {"incomparable"}
    assert "emulated" in found[0].reason
    half = replace(made.TIMED, samples=made.TIMED.samples[:4], complete=False)
    found = rows(made.TIMED, half)
    assert {row.answer for row in found} == {"incomparable"}
    assert "3 of 5" in found[0].reason
    none = replace(made.TIMED, samples=(), complete=False)
    assert {row.answer for row in rows(made.TIMED, none)} == {"incomparable"}


# Missing things


def test_what_is_missing_is_told_with_the_cure(rows: Checked) -> None:
    things: list[tuple[Made, str]] = [
        (made.a_bundle(), "export"),
        (made.an_evaluation(), "imp-deploy eval BUNDLE --task demo"),
        (made.a_quality(), "imp-deploy quality"),
        (made.TIMED, "imp-deploy bench"),
    ]
    for thing, cure in things:
        gone = rows(thing, None)
        assert {row.answer for row in gone} == {"incomparable"}
        assert cure in gone[0].reason
        new = rows(None, thing)
        assert {row.answer for row in new} == {"incomparable"}
        assert "--update" in new[0].reason


def test_every_metric_of_speed_has_a_row(rows: Checked) -> None:
    assert set(by_metric(rows(made.TIMED, made.TIMED))) == set(METRICS)


# False alarms


def test_ten_repetitions_of_the_same_candidate_give_no_alarm(tmp_path: Path) -> None:
    baseline = find(made.whole(tmp_path / "baseline"))
    for i in range(10):
        again = find(made.whole(tmp_path / str(i)))
        assert verdict(compare(baseline, again)) == "ok"


def test_measuring_again_gives_hardly_a_false_alarm() -> None:
    """200 pairs of five samples from one distribution: no regression among 800 rows, and few
    measurements that decide nothing."""
    figures = [find_speed(timed.result(seed=seed)) for seed in range(400)]
    answers: list[str] = []
    for before, after in zip(figures[::2], figures[1::2], strict=True):
        answers += [row.answer for row in compare(before, after)]
    assert len(answers) == 800
    assert answers.count("regressed") == 0
    assert answers.count("improved") == 0
    assert answers.count("ok") > 0.9 * 800


def find_speed(result: Result) -> Figures:
    return Figures(speed=(of_result(result),))


def test_marks_that_flip_by_chance_hardly_give_a_false_alarm() -> None:
    """200 candidates as good as the baseline, each with 2 % of other answers."""
    rng = random.Random(6)
    before = Figures(accuracy=(of_evaluation(made.an_evaluation(), 500),))
    answers = []
    for _ in range(200):
        marks = made.marks()
        for name in rng.sample(sorted(marks), 5):
            marks[name] = 1.0
        for name in rng.sample(sorted(marks), 5):
            marks[name] = 0.0
        after = Figures(accuracy=(of_evaluation(made.an_evaluation(marks), 500),))
        answers.append(one(compare(before, after)).answer)
    assert answers.count("regressed") == 0
    assert answers.count("ok") > 150


def test_answers_of_another_length_are_not_compared(rows: Checked) -> None:
    longer = replace(made.an_evaluation().protocol, max_tokens=128)
    (row,) = rows(made.an_evaluation(), made.an_evaluation(protocol=longer))
    assert row.answer == "incomparable"
    assert "--max-tokens 8" in row.reason


def test_a_score_that_falls_while_as_many_marks_are_right_is_not_ok(rows: Checked) -> None:
    """Circular accuracy: the same number of right answers, spread over more questions."""
    before = made.an_evaluation()
    assert before.score is not None
    after = made.an_evaluation(
        made.marks(60, first=1), score=replace(before.score, value=before.score.value - 6)
    )
    (row,) = rows(before, after)
    assert row.answer == "inconclusive"
    assert "fell by 6.00" in row.reason
