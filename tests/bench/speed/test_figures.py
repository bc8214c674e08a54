"""The numbers of the tables: medians, spread, ratios, and what is kept of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imp_deploy.bench.speed import report
from imp_deploy.bench.speed.figures import figures
from imp_deploy.bench.speed.report import Comparison
from imp_deploy.bench.speed.rounds import by_turns, order


def test_median_and_spread() -> None:
    """One slow run must neither move the figure nor be hidden."""
    found = figures([3.0, 1.0, 2.0, 4.0, 100.0])
    assert (found.median, found.low, found.high) == (3.0, 1.0, 100.0)
    assert (found.quarter, found.three_quarters, found.runs) == (2.0, 4.0, 5)


def test_one_run_has_figures() -> None:
    assert figures([2.0]).quarter == figures([2.0]).high == 2.0


def test_rows_take_turns() -> None:
    """A machine that gets slower would otherwise make the last row slow."""
    seen: list[tuple[int, str]] = []
    rows = {name: (lambda name=name: name.upper()) for name in ("a", "b", "c")}
    runs = by_turns(rows, 3, after=lambda number, name, _: seen.append((number, name)))
    assert [name for _, name in seen] == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]
    assert [number for number, _ in seen] == [0] * 3 + [1] * 3 + [2] * 3
    assert runs == {"a": ["A"] * 3, "b": ["B"] * 3, "c": ["C"] * 3}
    assert order(["a", "b"], 1) == ["b", "a"]


def made(folder: Path, *, target: float | None = 0.5) -> report.Report:
    report_ = report.begin(
        "export",
        folder,
        measured="seconds",
        beside={"peak_mb": "peak MB"},
        comparisons=[
            Comparison(row="ours", base="theirs", target=target),
            Comparison(row="not run", base="theirs"),
        ],
    )
    for ours, theirs in ((1.0, 4.0), (2.0, 5.0), (30.0, 6.0)):
        report_.add("ours", {"seconds": ours, "peak_mb": 500.0})
        report_.add("theirs", {"seconds": theirs, "peak_mb": 900.0})
    return report_


def test_the_table_says_ratio_target_machine_and_command(tmp_path: Path) -> None:
    """A ratio without machine and command cannot be repeated; of medians it is, not of means."""
    text = report.markdown(made(tmp_path))
    assert "| ours | 2.00 | 1.50 to 16.0 | 1.0000 to 30.0 | 500 | **0.40** (target 0.50) |" in text
    assert "| theirs | 5.00 | 4.50 to 5.50 | 4.00 to 6.00 | 900 | 1 |" in text
    assert "python -m imp_deploy.bench.speed.export" in text
    for word in ("GiB of memory", "llama.cpp 0c1e57098bba", "Runs of each row: 3"):
        assert word in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1


def test_raw_runs_are_kept(tmp_path: Path) -> None:
    """Another statistic can be computed later without measuring again."""
    report_ = made(tmp_path, target=None)
    report.save(report_, tmp_path / "export.json")
    kept = json.loads((tmp_path / "export.json").read_text())
    assert [run["seconds"] for run in kept["runs"]["ours"]] == [1.0, 2.0, 30.0]
    assert kept["figures"]["theirs"]["seconds"]["median"] == 5.0
    (ratio,) = kept["ratios"]
    assert ratio["ratio"] == pytest.approx(0.4)
    assert kept["machine"]["cores"] >= 1


def test_a_row_alone_has_no_ratio(tmp_path: Path) -> None:
    """With `--only`, what it is compared with may be missing: 1 would be a lie."""
    report_ = made(tmp_path)
    del report_.runs["theirs"]
    assert "| 500 |  |" in report.markdown(report_)


def test_the_command_names_no_place_of_this_machine() -> None:
    given = ["--folder", "/home/me/b", "--repetitions", "7", "--out=x.json", "--only", "4 bits"]
    assert report.command("export", given) == (
        "python -m imp_deploy.bench.speed.export --repetitions 7 --only '4 bits'"
    )
