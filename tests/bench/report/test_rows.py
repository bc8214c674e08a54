"""What stands in a row, and beside what."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imp_deploy import results
from imp_deploy.bench.report import paper, phases
from imp_deploy.bench.report.read import Loaded
from imp_deploy.bench.report.rows import differences, group
from imp_deploy.results import METRICS, Result
from tests.bench.report import made


def rows(folder: Path) -> list[dict[str, Any]]:
    done = made.report(folder, "--json")
    assert done.exit_code == 0
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return found


def groups(*results: Result) -> list[list[Result]]:
    found = group(Loaded(Path(f"{i}.json"), r) for i, r in enumerate(results))
    return [[row.result for row in each.rows] for each in found]


def test_figures_are_those_of_the_samples(tmp_path: Path) -> None:
    """A report that says something else than the samples is worse than none."""
    wanted = made.family()
    shown = rows(made.saved(tmp_path, *wanted))
    for each in wanted:
        (row,) = (
            r
            for r in shown
            if (r["bits"], r["resolution"]) == (each.variant.bits, each.variant.resolution)
        )
        measured = [s for s in each.samples if not s.warmup]
        assert row["samples"] == len(measured) == 5
        for metric, statistics in results.summary(tuple(measured)).items():
            for name in ("median", "mean", "stdev", "p5", "p95"):
                assert row[f"{metric}_{name}"] == pytest.approx(getattr(statistics, name))
        assert row["bandwidth_share"] == pytest.approx(results.bandwidth_share(each))
        assert row["size_bytes"] == sum(f.bytes for f in each.bundle.files)


def test_a_warm_up_counts_nowhere(tmp_path: Path) -> None:
    """The first run reads the files; its time is no phone's."""
    plain = made.result()
    slow = replace(plain.samples[0], seconds=replace(plain.samples[0].seconds, total=999.0))
    (one,) = rows(made.saved(tmp_path / "a", plain))
    (two,) = rows(made.saved(tmp_path / "b", replace(plain, samples=(slow, *plain.samples[1:]))))
    assert {k: v for k, v in one.items() if k != "file"} == {
        k: v for k, v in two.items() if k != "file"
    }


@pytest.mark.parametrize(
    ("bits", "resolution", "hardware", "metric", "value"),
    [
        (8, 384, "SD 8Gen3", "T_total", 63.57),
        (4, 384, "SD 888", "T_VE", 16.9),
        (4, 196, "SD 8Gen3", "S_gen", 12.73),
        (8, 196, "SD 888", "S_prompt", 11.68),
        (16, 196, "RTX 3090", "S_prompt", 6325.2),
    ],
)
def test_the_papers_figures(
    bits: int, resolution: int, hardware: str, metric: str, value: float
) -> None:
    (row,) = (
        r
        for r in paper.TABLE4
        if (r.model, r.bits, r.resolution, r.hardware) == ("Imp-3B", bits, resolution, hardware)
    )
    assert row.metrics()[metric] == value


def test_the_papers_phone_rows_fit_its_own_equation() -> None:
    """T_total = T_VE + N_prompt / S_prompt + N_gen / S_gen + the rest, with 41 text tokens and 64
    generated: a figure that was copied wrongly breaks it. MobileVLM has 144 visual tokens."""
    visual = {("Imp-3B", 384): 729, ("Imp-3B", 196): 196, ("MobileVLM-3B", 336): 144}
    phones = [row for row in paper.TABLE4 if row.hardware.startswith("SD")]
    assert (len(phones), len(paper.TABLE4)) == (12, 21)
    for row in phones:
        tokens = 41 + visual[row.model, row.resolution]
        total = row.T_VE + tokens / row.S_prompt + 64 / row.S_gen
        assert total == pytest.approx(row.T_total, rel=0.05), row


def test_ours_over_the_papers(tmp_path: Path) -> None:
    (row,) = rows(made.saved(tmp_path, made.result(4, 196)))
    theirs = {"T_VE": 2.10, "S_prompt": 15.64, "S_gen": 12.73, "T_total": 22.72}
    for metric in METRICS:
        assert row[f"paper_{metric}"] == theirs[metric]
        assert row[f"ratio_{metric}"] == pytest.approx(row[f"{metric}_median"] / theirs[metric])


def named(name: str) -> Result:
    plain = made.result()
    return replace(plain, bundle=replace(plain.bundle, name=name))


@pytest.mark.parametrize(
    "name", ["Imp-3B", "imp-v1-3b", "Imp-v1.5-3B", "Imp-v1.5-3B-Phi2", "imp-v1.5-3b-196"]
)
def test_the_paper_knows_the_model(name: str) -> None:
    assert paper.counterpart(named(name)) is not None


def mobilevlm(name: str, family: str = "mobilevlm") -> Result:
    plain = named(name)
    variant = replace(plain.variant, resolution=336)
    return replace(plain, bundle=replace(plain.bundle, family=family), variant=variant)


def test_the_paper_measured_mobilevlm_too() -> None:
    """And only the first version of the 3B one."""
    row = paper.counterpart(mobilevlm("MobileVLM-3B"))
    assert row is not None
    assert (row.model, row.resolution, row.T_VE) == ("MobileVLM-3B", 336, 4.93)
    for other in ("MobileVLM_V2-3B", "MobileVLM-1.7B"):
        assert paper.counterpart(mobilevlm(other)) is None
    assert paper.counterpart(mobilevlm("MobileVLM-3B", "llava")) is None


def unlike() -> dict[str, Result]:
    """Each differs in one way from what the paper measured."""
    plain = made.result()
    return {
        "another model": named("Imp-Demo"),
        "another size": named("Imp-v1.5-4B"),
        "a name that only begins so": named("Imp-3B-mine"),
        "another family": replace(plain, bundle=replace(plain.bundle, family="imp-phi3")),
        "emulated": made.emulated(),
        "another SoC": replace(plain, device=replace(plain.device, soc="SM8750")),
        "another protocol": replace(plain, protocol=replace(plain.protocol, name="custom")),
        "incomplete": replace(plain, complete=False),
        "vision in 4 bits": replace(plain, variant=replace(plain.variant, vision_bits=4)),
        "16 bits": made.result(16, 196),
    }


@pytest.mark.parametrize("way", list(unlike()))
def test_the_paper_stands_beside_its_like_only(way: str) -> None:
    """A ratio to another model, protocol or emulator is a false claim."""
    assert paper.counterpart(unlike()[way]) is None


def test_results_that_may_be_compared_share_a_group() -> None:
    """Two dates are no reason to part, and both are shown, the older first."""
    later = made.result(seed=2, started="2026-03-15T18:05:10Z", run="later")
    (only,) = groups(later, *made.family())
    assert len(only) == 7
    assert [r.started[:10] for r in only if (r.variant.bits, r.variant.resolution) == (4, 196)] == [
        "2026-03-14",
        "2026-03-15",
    ]


def apart() -> dict[str, Result]:
    plain = made.result()
    return {
        "device": replace(plain, device=replace(plain.device, serial="OTHER")),
        "build fingerprint": replace(plain, device=replace(plain.device, fingerprint="OTHER")),
        "runner SHA-256": replace(plain, runner=replace(plain.runner, sha256="00" * 32)),
        "weights SHA-256": replace(plain, bundle=replace(plain.bundle, weights_sha256="00" * 32)),
        "protocol: threads": replace(plain, protocol=replace(plain.protocol, threads=4)),
        "emulated": made.emulated(),
        "incomplete": made.incomplete(),
    }


@pytest.mark.parametrize("way", list(apart()))
def test_what_cannot_be_compared_is_kept_apart(way: str) -> None:
    assert len(groups(made.result(), apart()[way])) == 2


def test_what_differs_is_said(tmp_path: Path) -> None:
    other = apart()["protocol: threads"]
    one, two = group([Loaded(tmp_path, made.result()), Loaded(tmp_path, other)])
    assert differences(one, two) == (("protocol: threads", "6", "4"),)
    folder = made.saved(tmp_path, made.result(), other)
    for form in ("md", "html"):
        assert "protocol: threads" in made.report(folder, "--format", form).stdout


def test_emulated_stands_on_every_line(tmp_path: Path) -> None:
    """A line may be copied out of its table."""
    folder = made.saved(tmp_path, *made.everything())
    lines = list(csv.DictReader(io.StringIO(made.report(folder, "--format", "csv").stdout)))
    marked = [line for line in lines if line["emulated"] == "true"]
    assert len(marked) == 2
    assert all(line["hardware"].startswith("emulated: ") for line in marked)
    assert all(line["paper_T_total"] == line["ratio_T_total"] == "" for line in marked)
    text = made.report(folder).stdout
    virtual = text[text.index("## Emulated") : text.index("## How to read")]
    tables = [line for line in virtual.split("\n") if line.startswith("| ") and "Imp-" in line]
    assert len(tables) >= 6
    assert all("emulated" in line for line in tables)
    assert "Virtual" not in text[: text.index("## Emulated")]
    assert "Xiaomi" not in virtual
    assert "paper |" not in virtual


def test_incomplete_stands_on_every_line(tmp_path: Path) -> None:
    text = made.report(made.saved(tmp_path, *made.everything())).stdout
    part = text[text.index("## Incomplete") : text.index("## Emulated")]
    lines = [line for line in part.split("\n") if line.startswith("| ") and "Imp-" in line]
    assert len(lines) >= 3
    assert all("3 of 5, incomplete" in line or "0 of 5, incomplete" in line for line in lines)


def test_only_failures_are_a_result_too(tmp_path: Path) -> None:
    """A phone on which the model never ran is what the reader must learn."""
    folder = made.saved(tmp_path, made.only_failures())
    (row,) = rows(folder)
    assert (row["samples"], row["T_total_median"], row["failures"]) == (0, None, "killed")
    for form in ("md", "html"):
        shown = made.report(folder, "--format", form).stdout
        assert "0 of 5, incomplete" in shown
        assert "most likely for memory" in shown


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_phases_sum_to_the_total(count: int) -> None:
    """A bar longer or shorter than the T_total in the table would contradict it."""
    samples = made.result(8, 384).measured[:count]
    bar = phases.middle(samples)
    assert bar.total == pytest.approx(results.summary(samples)["T_total"].median)
    assert sum(bar.parts()) == pytest.approx(bar.total)
    assert min(bar.parts()) > 0
