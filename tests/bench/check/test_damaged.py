"""Broken bundles are caught, by the whole way: evaluated, measured and checked as in CI. And an
unchanged one is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imp_deploy.cli.main import app
from tests.bench.check import damage


def run(*arguments: str | Path) -> tuple[int, str]:
    """As the command line does; errors come back as the exceptions that they are."""
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    code = getattr(done.exception, "exit_code", done.exit_code)
    return code, done.stdout


def measured(bundle: Path, reference: Path, out: Path, *, count: int = 200) -> Path:
    """All that `check` looks at, of the 4-bit variant at 196 pixels and its 16-bit reference."""
    task = ("--task", "demo", "--out", out)
    assert run("eval", bundle, *task, "--limit", str(count))[0] == 0
    variants = ("--bits", "16,4", "--resolution", "196", "--reference", reference)
    assert run("quality", bundle, *task, "--limit", str(count // 5), *variants)[0] == 0
    return out


@pytest.fixture(scope="module")
def intact(demo_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured(demo_bundle, demo_bundle, tmp_path_factory.mktemp("checking") / "intact")


@pytest.fixture(scope="module")
def baseline(intact: Path) -> Path:
    path = intact.parent / "baseline.json"
    assert run("check", intact, "--baseline", path, "--update")[0] == 0
    return path


def regressed(candidate: Path, baseline: Path) -> set[tuple[str, str]]:
    code, said = run("check", candidate, "--baseline", baseline, "--json")
    assert code == 5
    rows = json.loads(said)["rows"]
    assert {row["answer"] for row in rows} <= {"regressed", "ok", "inconclusive"}
    return {(row["kind"], row["metric"]) for row in rows if row["answer"] == "regressed"}


@pytest.mark.parametrize(
    ("broken", "seen_by"),
    [
        (damage.last_layer_dropped, ("accuracy", "mean mark")),
        (damage.q_and_k_swapped, ("quality", "worst_cosine")),
        (damage.padded, ("accuracy", "mean mark")),
        (damage.two_bits, ("quality", "mean_kl")),
    ],
)
def test_damage_is_caught(
    demo_bundle: Path,
    baseline: Path,
    tmp_path: Path,
    broken: Callable[[Path], None],
    seen_by: tuple[str, str],
) -> None:
    bundle = damage.damaged(demo_bundle, tmp_path / "bundle", broken)
    candidate = measured(bundle, demo_bundle, tmp_path / "candidate")
    assert seen_by in regressed(candidate, baseline)


def test_ten_repetitions_of_an_unchanged_bundle_give_no_alarm(
    demo_bundle: Path, tmp_path: Path
) -> None:
    baseline = tmp_path / "baseline.json"
    first = measured(demo_bundle, demo_bundle, tmp_path / "first", count=100)
    assert run("check", first, "--baseline", baseline, "--update")[0] == 0
    for number in range(10):
        candidate = measured(demo_bundle, demo_bundle, tmp_path / str(number), count=100)
        code, said = run("check", candidate, "--baseline", baseline, "--json")
        assert code == 0, said
        assert {row["answer"] for row in json.loads(said)["rows"]} == {"ok"}


def test_another_bundle_is_not_taken_for_the_same(
    demo_bundle: Path, baseline: Path, tmp_path: Path
) -> None:
    """A broken tower looks perfect beside itself: the reference has to be the baseline's."""
    bundle = damage.damaged(demo_bundle, tmp_path / "bundle", damage.q_and_k_swapped)
    candidate = measured(bundle, bundle, tmp_path / "candidate")
    _, said = run("check", candidate, "--baseline", baseline, "--only", "quality", "--json")
    rows = json.loads(said)["rows"]
    assert {row["answer"] for row in rows} == {"incomparable"}
    assert all("references are not the same" in row["reason"] for row in rows)
