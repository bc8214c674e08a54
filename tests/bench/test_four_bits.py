"""The figures of the benchmark of 4-bit recipes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imp_deploy import bundle as bundles
from imp_deploy.bench.four_bits import Interval, Row, interval, product_error, table
from tests.bench.calibrate.conftest import collect
from tests.checkpoints import Sizes
from tests.pictures import noise
from tests.small import SIDE, run_export, small_checkpoint


def test_the_interval_holds_the_mean_over_positions() -> None:
    """Questions with longer answers have more positions, and count by them."""
    values = [[1.0] * 3, [5.0]] * 50
    found = interval(values)
    assert found.value == 2
    assert 1.6 < found.low < 2 < found.high < 2.5
    assert interval(values) == found
    once = interval([[2.0], [2.0]])
    assert (once.low, once.high) == (2, 2)


def test_a_ratio_is_of_the_same_questions() -> None:
    """Otherwise a recipe that is better on every question is lost in how unlike questions are."""
    random = np.random.default_rng(0)
    base = [[float(v)] for v in np.exp(3 * random.standard_normal(200))]
    half = interval([[v / 2] for [v] in base], base)
    assert (half.value, half.low, half.high) == pytest.approx((0.5, 0.5, 0.5))
    assert interval(base).high > 1.5 * interval(base).low


def test_fewer_bits_make_larger_errors(tmp_path: Path) -> None:
    checkpoint = small_checkpoint(tmp_path / "checkpoint", sizes=Sizes())
    run_export(checkpoint, tmp_path / "bundle", resolutions=(SIDE,))
    images = tmp_path / "images"
    images.mkdir()
    noise(60, 40).save(images / "a.png")
    collect(tmp_path / "bundle", images, tmp_path / "imatrix")
    bundle = bundles.load(tmp_path / "bundle")
    llms = {
        file.bits: tmp_path / "bundle" / file.path for file in bundle.files if file.role == "llm"
    }
    errors = {b: product_error(llms[16], llms[b], tmp_path / "imatrix") for b in llms}
    assert errors[16] == 0
    assert 1e-6 < errors[8] < 1e-4  # half a step of 1/127 of a block's largest value
    assert 1e-3 < errors[4] < 3e-2


def test_the_table_is_markdown() -> None:
    one = Interval(1.0, 0.5, 1.5)
    row = Row(
        recipe="Q4_0",
        bytes=1234567,
        error=0.0066,
        mean_kl=one,
        of_base=one,
        top_five=0.5,
        top1=one,
        accuracy=one,
    )
    lines = table([row]).splitlines()
    assert {line.count("|") for line in lines} == {9}
    assert lines[2].startswith("| Q4_0 | 1,234,567 | 0.660 % | 1.00e+00 (5.00e-01 to 1.50e+00) |")
