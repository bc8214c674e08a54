"""If a p value or a bound is wrong, the gate lets regressions through or cries wolf."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from imp_deploy.bench.check import pairs, ranks, resample
from imp_deploy.quality import _percentile, metrics
from tests.bench.check import made


def test_mcnemar_by_hand() -> None:
    # 9 worse, 1 better: 2 (C(10,0) + C(10,1)) / 2^10 = 22 / 1024.
    assert pairs.mcnemar(1, 9) == pairs.mcnemar(9, 1) == 22 / 1024
    assert pairs.mcnemar(0, 8) == 2 / 256
    assert pairs.mcnemar(0, 0) == 1
    assert pairs.mcnemar(1, 0) == 1
    assert pairs.mcnemar(5, 5) == 1


@pytest.mark.parametrize(("up", "down"), [(0, 7), (3, 11), (40, 61), (200, 277), (4000, 4300)])
def test_mcnemar_is_the_binomial_test(up: int, down: int) -> None:
    expected = stats.binomtest(up, up + down, 0.5).pvalue
    assert pairs.mcnemar(up, down) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_everything_changed_does_not_overflow() -> None:
    assert pairs.mcnemar(0, 100_000) == 0.0
    assert 0.9 < pairs.mcnemar(20_000, 20_000) <= 1


def test_fractional_marks_count_by_their_sign_and_weigh_by_their_size() -> None:
    found = pairs.compare([1.0, 0.3, 0.6, 0.0], [0.9, 0.3, 1.0, 0.0])
    assert (found.n, found.up, found.down) == (4, 1, 1)
    assert found.mean == pytest.approx((0.4 - 0.1) / 4)


def test_the_adjusted_interval_by_hand() -> None:
    # 100 questions, 3 up and 8 down: mean -5/102, variance (13 - 25/102) / 102^2.
    low, high = pairs.mean_bounds([1.0] * 3 + [-1.0] * 8 + [0.0] * 89)
    reach = 1.6448536269514722 * math.sqrt(13 - 25 / 102) / 102
    assert low == pytest.approx(-5 / 102 - reach)
    assert high == pytest.approx(-5 / 102 + reach)


def test_no_change_in_few_questions_is_no_certainty() -> None:
    for n, certain in ((0, 1.0), (1, 0.6), (20, 0.1), (500, 0.005)):
        low, high = pairs.mean_bounds([0.0] * n)
        assert high == -low
        assert high <= 1
        assert high >= 0.8 * certain


@pytest.mark.parametrize(("up", "down"), [(0.02, 0.04), (0.03, 0.03), (0.03, 0.01)])
def test_the_lower_bound_holds_in_95_of_100(up: float, down: float) -> None:
    rng = np.random.default_rng(5)
    counts = rng.multinomial(500, [up, down, 1 - up - down], size=1500)
    held = sum(
        pairs.mean_bounds([1.0] * u + [-1.0] * d + [0.0] * same)[0] <= up - down
        for u, d, same in counts.tolist()
    )
    assert held / 1500 > 0.935


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        pairs.compare([0.0], [math.nan])
    with pytest.raises(ValueError, match="finite"):
        ranks.mann_whitney([1.0, 2.0], [math.nan, 1.0])
    with pytest.raises(ValueError, match="empty"):
        ranks.mann_whitney([], [1.0])
    with pytest.raises(ValueError, match="above 0"):
        ranks.compare([0.0, 1.0], [1.0, 2.0])


def test_mann_whitney_by_hand() -> None:
    # Five clearly apart from five: 2 of C(10, 5) = 252 divisions are as extreme.
    assert ranks.mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert ranks.mann_whitney([1.0], [2.0]) == 1
    assert ranks.mann_whitney([3.0] * 5, [3.0] * 7) == 1
    # With a tie: of the 20 divisions of ranks 1, 2, 3.5, 3.5, 5, 6 only 1 + 2 + 3.5 is as low,
    # and it happens twice, for either 3.5.
    assert ranks.mann_whitney([1, 2, 3], [3, 4, 5]) == pytest.approx(2 * 2 / 20)


@pytest.mark.parametrize("sizes", [(1, 4), (3, 3), (5, 5), (4, 9), (10, 12), (30, 30)])
def test_exact_as_scipy_without_ties(sizes: tuple[int, int]) -> None:
    rng = random.Random(str(sizes))
    for shift in (0.0, 0.7, 2.0):
        one = [rng.gauss(0, 1) for _ in range(sizes[0])]
        two = [rng.gauss(shift, 1) for _ in range(sizes[1])]
        expected = stats.mannwhitneyu(one, two, method="exact").pvalue
        assert ranks.mann_whitney(one, two) == pytest.approx(expected, rel=1e-9)


def test_exact_with_ties_is_what_enumeration_gives() -> None:
    rng = random.Random(7)
    for _ in range(25):
        one = [rng.randint(1, 4) for _ in range(rng.randint(1, 5))]
        two = [rng.randint(2, 5) for _ in range(rng.randint(1, 5))]
        both = ranks.doubled_ranks([*one, *two])
        assert both == [round(2 * r) for r in stats.rankdata([*one, *two])]
        sums = [sum(chosen) for chosen in itertools.combinations(both, len(one))]
        place = sum(both[: len(one)])
        lower = Fraction(sum(s <= place for s in sums), len(sums))
        upper = Fraction(sum(s >= place for s in sums), len(sums))
        expected = float(min(Fraction(1), 2 * min(lower, upper)))
        assert ranks.mann_whitney(one, two) == pytest.approx(expected, rel=1e-12)


def test_many_samples_as_scipy_with_ties_and_continuity() -> None:
    rng = random.Random(3)
    for shift in (0, 1, 2):
        one = [float(rng.randint(0, 12)) for _ in range(45)]
        two = [float(rng.randint(0, 12) + shift) for _ in range(60)]
        expected = stats.mannwhitneyu(one, two, method="asymptotic").pvalue
        assert ranks.mann_whitney(one, two) == pytest.approx(expected, rel=1e-9)
    assert ranks.mann_whitney([1.0] * 40, [1.0] * 40) == 1


def test_where_exact_ends_the_approximation_is_near() -> None:
    rng = random.Random(11)
    one = [rng.gauss(0, 1) for _ in range(30)]
    two = [rng.gauss(0.6, 1) for _ in range(30)]
    exact = ranks.mann_whitney(one, two)
    near = ranks.mann_whitney([*one, 0.25], [*two, 0.35])
    assert exact == pytest.approx(near, rel=0.3)


def test_hodges_lehmann_by_hand() -> None:
    # Ratios of {2, 4} over {1, 2}: 1, 2, 2, 4.
    found = ranks.compare([1.0, 2.0], [2.0, 4.0])
    assert found.ratio == 2
    assert found.low is None
    assert found.high is None
    # Five against five: P(U <= 4) = 12 / 252 is the last below 0.05, so the fifth from each end.
    one, two = [10.0, 11, 12, 13, 14], [20.0, 21, 22, 23, 24]
    found = ranks.compare(one, two)
    ratios = sorted(b / a for a in one for b in two)
    assert (found.low, found.ratio, found.high) == (ratios[4], ratios[12], ratios[-5])
    # Three against three: only the outermost, at exactly 1 in 20.
    found = ranks.compare([10.0, 11, 12], [20.0, 21, 22])
    assert (found.low, found.high) == (20 / 12, 22 / 10)


def test_bounds_of_the_ratio_hold_in_95_of_100() -> None:
    rng = random.Random(13)
    held = 0
    for _ in range(2000):
        one = [rng.lognormvariate(0, 0.03) for _ in range(5)]
        two = [1.1 * rng.lognormvariate(0, 0.03) for _ in range(6)]
        high = ranks.compare(one, two).high
        held += high is not None and high >= 1.1
    assert 0.94 < held / 2000 < 0.985


def test_bounds_of_many_samples_are_near_the_exact_ones() -> None:
    rng = random.Random(17)
    one = [rng.lognormvariate(0, 0.03) for _ in range(80)]
    two = [rng.lognormvariate(0, 0.03) for _ in range(80)]
    wide = ranks.compare(one, two)
    assert wide.low is not None
    assert wide.high is not None
    assert 0.98 < wide.low < wide.ratio < wide.high < 1.02


def columns(measured: object) -> resample.Columns:
    items = measured.items  # type: ignore[attr-defined]
    return resample.columns(
        [i.kl for i in items],
        [i.agree for i in items],
        [[a - b for a, b in zip(i.reference_log_p, i.log_p, strict=True)] for i in items],
        [i.mean_cosine for i in items],
    )


def test_a_resample_of_every_question_once_gives_the_metrics_themselves() -> None:
    measured = made.a_quality(n=60)
    weights = np.ones((1, 60))
    found = resample._figures(columns(measured), weights)
    expected = metrics(measured.items)
    for metric in resample.METRICS:
        assert found[metric][0] == pytest.approx(expected[metric], rel=1e-12), metric


def test_a_resample_is_the_metrics_of_the_questions_drawn() -> None:
    measured = made.a_quality(n=30)
    rng = random.Random(2)
    for _ in range(10):
        drawn = [rng.randrange(30) for _ in range(30)]
        weights = np.array([[drawn.count(i) for i in range(30)]], float)
        found = resample._figures(columns(measured), weights)
        expected = metrics([measured.items[i] for i in drawn])
        for metric in resample.METRICS:
            assert found[metric][0] == pytest.approx(expected[metric], rel=1e-12), metric


def test_the_percentile_is_the_one_of_the_result_file() -> None:
    values = np.array([0.5, 0.1, 0.9, 0.2])
    one = resample.columns([[v] for v in values], [[True]] * 4, [[0.0]] * 4, [1.0] * 4)
    found = resample._figures(one, np.ones((1, 4)))["p99_kl"][0]
    assert found == pytest.approx(_percentile(sorted(values), 0.99))
    assert found == pytest.approx(np.percentile(values, 99))


def test_the_bootstrap_bounds_are_those_of_scipy() -> None:
    before, after = made.a_quality(n=150), made.a_quality(n=150, seed=2, kl=0.03)
    found = resample.compare(columns(before), columns(after))["mean_cosine"]
    changes = [
        b.mean_cosine - a.mean_cosine for a, b in zip(before.items, after.items, strict=True)
    ]
    theirs = stats.bootstrap(
        (changes,), np.mean, confidence_level=0.9, method="percentile", rng=1, n_resamples=4000
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_the_bootstrap_is_the_same_each_time_and_refuses_nan() -> None:
    before, after = columns(made.a_quality(n=40)), columns(made.a_quality(n=40, seed=2))
    assert resample.compare(before, after) == resample.compare(before, after)
    same = resample.compare(before, before)
    assert all((d.p, d.low, d.high) == (1, 0, 0) for d in same.values())
    broken = resample.columns([[math.nan]], [[True]], [[0.0]], [1.0])
    with pytest.raises(ValueError, match="finite"):
        resample.compare(broken, broken)
    empty = resample.columns([], [], [], [])
    with pytest.raises(ValueError, match="none"):
        resample.compare(empty, empty)


def test_few_flips_are_no_evidence() -> None:
    """Six of 200 questions got worse and none better: 2 of 64 ways to toss six coins, whatever the
    bootstrap makes of it. With twelve: 2 of 4096."""
    for flips, p in ((6, 2 / 64), (12, 2 / 4096)):
        agree = [[i >= flips] for i in range(200)]
        rest = ([[0.01]] * 200, [[True]] * 200, [[0.0]] * 200, [1.0] * 200)
        worse = resample.columns(rest[0], agree, rest[2], rest[3])
        found = resample.compare(resample.columns(*rest), worse)["top1_agreement"]
        assert found.p == pytest.approx(p, rel=0.2, abs=0.001)
        assert found.high <= 0
        assert found.low == pytest.approx(-1.645 * math.sqrt(flips) / 200 - flips / 200, rel=0.15)


def test_p_of_a_mean_is_that_of_the_permutation_test_of_scipy() -> None:
    before, after = made.a_quality(n=60, seed=8), made.a_quality(n=60, seed=9)
    changes = [
        b.mean_cosine - a.mean_cosine for a, b in zip(before.items, after.items, strict=True)
    ]
    theirs = stats.permutation_test(
        (changes,), np.mean, permutation_type="samples", n_resamples=4000, rng=3
    ).pvalue
    found = resample.compare(columns(before), columns(after))["mean_cosine"].p
    assert found == pytest.approx(theirs, abs=0.03)


def test_where_one_question_holds_most_positions_the_percentile_still_counts() -> None:
    """In a resample without it, the largest tenth of all positions does not reach."""
    kl = [[1.0 + i / 100 for i in range(90)], *([0.001 * i] for i in range(10))]
    one = resample.columns(
        kl, [[True] * len(k) for k in kl], [[0.0] * len(k) for k in kl], [1] * 11
    )
    without = np.array([[0.0] + [1.0] * 10, [1.0] * 11])
    found = resample._figures(one, without)["p99_kl"]
    assert found[0] == pytest.approx(np.percentile([0.001 * i for i in range(10)], 99))
    assert found[1] == pytest.approx(np.percentile(np.concatenate([np.array(k) for k in kl]), 99))
