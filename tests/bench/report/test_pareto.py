"""Which variants are marked, and where the labels of a plot go."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest

from imp_deploy.bench.report import labels, marks
from imp_deploy.bench.report.accuracy import chosen, columns
from imp_deploy.bench.report.contents import Contents, contents
from imp_deploy.bench.report.pareto import optimal
from imp_deploy.bench.report.read import read
from imp_deploy.evaluation import Evaluation
from imp_deploy.quality import Quality
from imp_deploy.results import Result
from tests.bench.report import made


def shown(folder: Path, *each: Result | Evaluation | Quality) -> Contents:
    return contents(read([made.saved(folder, *each)]))


def test_optimal_by_hand() -> None:
    """Accuracy, minus seconds, minus size. The second is beaten by the first in all; the third is
    slower than the first and smaller; the fourth is the first again; the fifth is as accurate and
    as fast as the third, and larger."""
    points = [(90.0, -5.0, -4.0), (89.0, -6.0, -5.0), (90.0, -7.0, -2.0), (90.0, -5.0, -4.0)]
    assert optimal([*points, (90.0, -7.0, -3.0)]) == (True, False, True, True, False)
    assert optimal([(1.0, -1.0)]) == (True,)
    assert optimal([]) == ()


def scored(bits: int, side: int, value: float, task: str = "demo") -> Evaluation:
    plain = made.evaluated(bits, side, task=task)
    assert plain.score is not None
    score = replace(plain.score, value=value, low=value - 2, high=value + 2)
    return replace(plain, score=score)


def test_a_phone_marks_by_time_and_size_too(tmp_path: Path) -> None:
    """T_total is 21.6, 14.0, 12.6 s at 384 and 12.7, 7.7, 5.8 s at 196, for 16, 8 and 4 bits; the
    smaller the bits, the smaller the files. 16 bits at 196 take longer than 4 bits at 384 and are
    larger, and only equally accurate."""
    values = {(16, 384): 92, (8, 384): 91, (4, 384): 88, (16, 196): 88, (8, 196): 85, (4, 196): 85}
    held = shown(tmp_path, *made.family(), *(scored(*v, x) for v, x in values.items()))
    (group,), (family,), (column,) = held.groups, held.families, held.columns
    order = [(r.result.variant.bits, r.result.variant.resolution) for r in group.rows]
    assert order == list(values)
    assert marks.of_group(group, column) == (True, True, True, False, False, True)
    assert marks.of_variants(family.rows, column) == (True, True, True, False, False, False)


def test_an_emulators_times_decide_nothing(tmp_path: Path) -> None:
    """196 at 4 bits is faster and less accurate than 384 at 4 bits, and as large."""
    scores = [scored(4, 384, 90.0), scored(4, 196, 80.0)]
    times = [made.emulated(4, 384), made.emulated(4, 196)]
    (virtual,) = shown(tmp_path / "a", *times, *scores).groups
    held = shown(tmp_path / "b", made.result(4, 384), made.result(4, 196), *scores)
    (column,) = held.columns
    assert marks.of_group(held.groups[0], column) == (True, True)
    assert marks.of_group(virtual, column) == (True, False)
    part = [replace(r, complete=False) for r in (made.result(4, 384), made.result(4, 196))]
    (unfinished,) = shown(tmp_path / "c", *part, *scores).groups
    assert marks.of_group(unfinished, column) == (True, False)
    text = made.report(tmp_path / "a", "--format", "html").stdout
    assert "Accuracy against T_total" not in text
    assert "Accuracy against size" in text


def test_each_benchmark_has_its_own_marks(tmp_path: Path) -> None:
    held = shown(
        tmp_path,
        *(scored(8, 196, 90.0), scored(4, 196, 80.0)),
        *(scored(8, 196, 70.0, "mmbench"), scored(4, 196, 75.0, "mmbench")),
        scored(4, 196, 60.0, "scienceqa"),
    )
    (family,) = held.families
    found = {column.name: marks.of_variants(family.rows, column) for column in held.columns}
    assert found == {
        "scienceqa": (False, False),  # alone
        "mmbench": (False, True),
        "demo": (True, True),
    }


def test_what_is_not_complete_beats_nobody(tmp_path: Path) -> None:
    held = shown(tmp_path, made.unfinished(8, 384), scored(8, 196, 50.0), scored(4, 196, 40.0))
    (family,), (column,) = held.families, held.columns
    assert marks.of_variants(family.rows, column) == (False, True, True)


def test_columns_stand_in_the_papers_order() -> None:
    tasks = ("mmvet", "demo", "mmbench", "scienceqa")
    answers = chosen((Path(task), made.evaluated(task=task)) for task in tasks)
    (held,) = answers.values()
    assert [c.name for c in columns(held)] == ["scienceqa", "mmbench", "mmvet", "demo"]


def boxes(
    points: list[labels.Anchor], spots: tuple[labels.Spot, ...], width: float
) -> list[tuple[float, float, float, float]]:
    found = []
    for point, spot in zip(points, spots, strict=True):
        long = 7.0 * len(point.text)
        x = point.across * width + spot.dx
        left = {"start": x, "middle": x - long / 2, "end": x - long}[spot.anchor]
        y = point.down + spot.dy
        found.append((left, y - 6.5, left + long, y + 6.5))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_labels_do_not_overlap(seed: int) -> None:
    """Six variants, some of equal size and of nearly equal accuracy, at any width of the page."""
    rng = random.Random(seed)
    sizes = [0.38, 0.38, 0.6, 0.6, 0.94, 0.94]
    points = []
    for across in sizes:
        down = rng.uniform(100, 120)
        points.append(labels.Anchor("16@384", across, down, down - 40, down + 40))
    spots = labels.places(points, 240)
    for width in range(280, 1200, 20):
        placed = boxes(points, spots, width)
        for one, other in itertools.combinations(placed, 2):
            apart = one[2] <= other[0] or other[2] <= one[0]
            assert apart or one[3] <= other[1] or other[3] <= one[1], (width, one, other)
        assert min(box[0] for box in placed) >= 0
        assert max(box[2] for box in placed) <= width
        assert all(0 <= box[1] <= 227 for box in placed)
