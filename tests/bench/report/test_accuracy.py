"""Which score stands in which row, and where none does."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imp_deploy import quality
from imp_deploy.bench.report import paper
from imp_deploy.errors import BadInput
from imp_deploy.evaluation import Evaluation, answers_path
from imp_deploy.quality import Quality
from imp_deploy.results import BundleRecord, Result
from tests.bench.report import made


def document(folder: Path, *shown: Result | Evaluation | Quality) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.report(made.saved(folder, *shown), "--json").stdout)
    return found


def rows(folder: Path, *shown: Result | Evaluation | Quality) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document(folder, *shown)["rows"]
    return found


def with_files(bundle: BundleRecord, sha256: str) -> BundleRecord:
    """The same names and sizes, another language model."""
    llm, vision = bundle.files
    return replace(bundle, files=(replace(llm, sha256=sha256), vision))


def test_a_score_stands_beside_its_own_files(tmp_path: Path) -> None:
    """A score beside the time of other files would be a claim about a model that nobody ran."""
    plain = made.evaluated()
    other = replace(made.evaluated(), bundle=with_files(plain.bundle, "77" * 32))
    renamed = replace(plain, bundle=replace(plain.bundle, name="renamed"))
    newer = replace(plain, runner=replace(plain.runner, llama_cpp="ffffffffffff"))
    (own,) = rows(tmp_path / "own", made.result(), plain)
    assert own["accuracy_demo"] == 84.0
    assert (own["accuracy_demo_low"], own["accuracy_demo_high"]) == pytest.approx((81.2, 86.5))
    assert own["accuracy_demo_place"] == "host: EPYC 7763"
    (also,) = rows(tmp_path / "renamed", made.result(), renamed)
    assert also["accuracy_demo"] == own["accuracy_demo"]
    for name, foreign in (("files", other), ("llama", newer)):
        timed, alone = rows(tmp_path / name, made.result(), foreign)
        assert timed["accuracy_demo"] is None
        assert timed["T_total_median"] is not None
        assert (alone["group"], alone["accuracy_demo"]) == (None, own["accuracy_demo"])


def test_the_vision_file_counts_as_well(tmp_path: Path) -> None:
    wide = made.evaluated(4, 384)
    timed, _ = rows(tmp_path, made.result(4, 196), wide)
    assert timed["accuracy_demo"] is None


def test_every_device_gets_the_score_of_its_files(tmp_path: Path) -> None:
    """Evaluated once on the host, timed on a phone and on the virtual one."""
    found = rows(tmp_path, made.result(), made.emulated(), made.evaluated())
    assert [row["accuracy_demo"] for row in found] == [84.0, 84.0]
    assert [row["emulated"] for row in found] == [False, True]


@pytest.mark.parametrize("form", ["md", "html"])
def test_no_score_over_what_is_not_complete(form: str, tmp_path: Path) -> None:
    part = made.unfinished(answered=312)
    text = made.report(made.saved(tmp_path / "a", part), "--format", form).stdout
    assert "312 of 500, incomplete" in text
    assert "84.00" not in text
    assert "★" not in text.partition("How to read this")[0]
    (row,) = rows(tmp_path / "b", part)
    assert (row["accuracy_demo"], row["accuracy_demo_low"]) == (None, None)
    assert (row["accuracy_demo_answered"], row["accuracy_demo_state"]) == (312, "incomplete")


def test_an_unfinished_evaluation_says_how_far_it_is(tmp_path: Path) -> None:
    """As `eval` leaves it while it runs: no marks yet, and the answers in the file beside it, the
    last of which is just being written, and one of which came twice."""
    begun = made.unfinished(answered=0)
    place = made.saved(tmp_path, begun) / "evaluation-0.json"
    lines = [json.dumps({"id": f"q{i}", "text": "red"}) for i in (*range(312), 7)]
    answers = "\n".join([*lines, '{"id": "q9'])
    answers_path(place).write_text(answers, "utf-8")
    assert "312 of 500, incomplete" in made.report(tmp_path).stdout
    answers_path(place).unlink()
    assert "| incomplete |" in made.report(tmp_path).stdout


@pytest.mark.parametrize("form", ["md", "html"])
def test_what_a_server_scores_has_no_score(form: str, tmp_path: Path) -> None:
    shown = made.saved(tmp_path, made.for_a_server(), made.result())
    text = made.report(shown, "--format", form).stdout
    assert "submission written" in text
    (row,) = json.loads(made.report(shown, "--json").stdout)["rows"]
    assert (row["accuracy_mmvet"], row["accuracy_mmvet_state"]) == (None, "submission")


def test_the_newest_of_two_with_the_same_questions(tmp_path: Path) -> None:
    """Nobody learns otherwise that two runs gave two scores."""
    old = made.evaluated()
    assert old.score is not None
    new = replace(
        old,
        started="2026-03-20T08:00:00Z",
        device=made.EMULATED,
        score=replace(old.score, value=83.4),
    )
    (row,) = rows(tmp_path / "a", old, new)
    assert row["accuracy_demo"] == 83.4
    text = made.report(tmp_path / "a").stdout
    assert "evaluated more than once" in text
    assert "left out 2026-03-13 20:00 on host: EPYC 7763 (84.00)" in text
    assert "2026-03-20 08:00 on emulated: Imp Virtual SM8650" in text
    begun = made.unfinished(answered=3, started="2026-03-21T08:00:00Z")
    (row,) = rows(tmp_path / "b", old, begun)
    assert (row["accuracy_demo"], row["accuracy_demo_state"]) == (84.0, "scored")
    assert "(3 of 500, incomplete)" in made.report(tmp_path / "b").stdout


def test_other_questions_are_another_column(tmp_path: Path) -> None:
    """200 questions and 500 are two scores, and neither replaces the other."""
    few = made.evaluated(asked=200, started="2026-03-20T08:00:00Z")
    (row,) = rows(tmp_path, made.evaluated(), few)
    values = {k: v for k, v in row.items() if k.startswith("accuracy_") and k.endswith("_asked")}
    assert sorted(values.values()) == [200, 500]
    text = made.report(tmp_path).stdout
    assert "200 of 500 asked" in text
    assert f"questions {few.task.sha256[:8]}" in text


def test_evaluations_alone_are_a_report(tmp_path: Path) -> None:
    """As in CI, where nothing is timed; in the order of the paper's table."""
    shown = [made.evaluated(*v) for v in reversed(made.VARIANTS)]
    found = rows(tmp_path / "a", *shown, *(made.distance(*v) for v in made.VARIANTS))
    assert [(r["bits"], r["resolution"]) for r in found] == list(made.VARIANTS)
    for row, (bits, side) in zip(found, made.VARIANTS, strict=True):
        wanted = quality.metrics(made.distance(bits, side).items)
        assert {m: row[f"quality_demo_{m}"] for m in quality.METRICS} == pytest.approx(wanted)
        assert row["quality_demo_reference"] == f"Imp-v1.5-3B@{side}, 16 bits"
    text = made.report(tmp_path / "a").stdout
    assert text.startswith("# Measured accuracy\n")
    assert "T_total" not in text
    assert "0.0650" in text
    only = made.report(made.saved(tmp_path / "b", made.distance())).stdout
    assert only.startswith("# Measured quality\n")
    assert "accuracy" not in only.lower()


def test_several_measurements_of_quality_are_all_there(tmp_path: Path) -> None:
    """Against two references; the same measurement made anew replaces the old one."""
    one = made.distance(4, 196)
    again = replace(one, started="2026-03-20T08:00:00Z", items=one.items[:8])
    wide = made.distance(16, 384)
    other = replace(one, reference_bundle=wide.bundle, reference=wide.variant)
    shown = document(tmp_path, one, again, other)
    (row,) = shown["rows"]
    references = {v for k, v in row.items() if k.endswith("_reference")}
    assert references == {"Imp-v1.5-3B@196, 16 bits", "Imp-v1.5-3B@384, 16 bits"}
    assert [q["started"] for q in shown["quality"]].count("2026-03-20T08:00:00Z") == 1
    assert len(shown["quality"]) == 2


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """A damaged bundle beside the good one it was made of."""
    good = made.evaluated()
    bad = replace(good, bundle=with_files(good.bundle, "77" * 32))
    text = made.report(made.saved(tmp_path, good, bad)).stdout
    assert "files 040404 969696" in text
    assert "files 777777 969696" in text


def test_csv_has_a_column_for_each_figure(tmp_path: Path) -> None:
    folder = made.saved(tmp_path, *made.table4(), made.unfinished(4, 196, task="mme"))
    lines = list(csv.DictReader(io.StringIO(made.report(folder, "--format", "csv").stdout)))
    found = json.loads(made.report(folder, "--json").stdout)
    assert len(lines) == 6
    for line, row in zip(lines, found["rows"], strict=True):
        assert set(line) == set(row)
        for task in ("demo", "scienceqa", "mmbench"):
            assert float(line[f"accuracy_{task}"]) == row[f"accuracy_{task}"]
            assert line[f"accuracy_{task}_asked"] == "500"
        assert line["accuracy_mme"] == ""
    assert len(found["evaluations"]) == 19
    assert not any("marks" in each for each in found["evaluations"])


def test_results_of_bench_alone_keep_their_columns(tmp_path: Path) -> None:
    """Whoever reads them by program sees nothing new."""
    (line, *_) = csv.reader(
        io.StringIO(made.report(made.saved(tmp_path, *made.family()), "--format", "csv").stdout)
    )
    assert not [name for name in line if name.startswith(("accuracy", "quality"))]
    assert (line[0], line[-1]) == ("group", "file")


def test_the_papers_accuracies() -> None:
    """As printed; where its tables disagree, both."""
    wide = made.evaluated(16, 384)
    cases = {
        "scienceqa": paper.Printed(73.13, 2, 4, 72.8),
        "mmbench": paper.Printed(71.05, 2, 4, 72.9),
        "vqav2": paper.Printed(81.2, 1, 3),
        "mme": paper.Printed(1446.4, 1, 3),
        "mmbench-cn": paper.Printed(46.7, 1, 3),
        "demo": None,
    }
    for task, printed in cases.items():
        assert paper.accuracy(wide.bundle, wide.variant, task) == printed
    small = made.evaluated(4, 196)
    assert paper.accuracy(small.bundle, small.variant, "mmbench") == paper.Printed(63.14, 2, 4)
    assert paper.accuracy(small.bundle, small.variant, "vqav2") is None


def unlike() -> dict[str, Evaluation]:
    plain = made.evaluated(task="scienceqa")
    return {
        "another model": replace(plain, bundle=replace(plain.bundle, name="Imp-Demo")),
        "another family": replace(plain, bundle=replace(plain.bundle, family="imp-phi3")),
        "vision in 4 bits": replace(plain, variant=replace(plain.variant, vision_bits=4)),
        "another resolution": replace(plain, variant=replace(plain.variant, resolution=224)),
        "another task": made.evaluated(),
        "incomplete": made.unfinished(task="scienceqa"),
    }


@pytest.mark.parametrize("way", list(unlike()))
def test_the_papers_accuracy_stands_beside_its_like_only(way: str, tmp_path: Path) -> None:
    folder = made.saved(tmp_path, unlike()[way])
    (row,) = json.loads(made.report(folder, "--json").stdout)["rows"]
    assert {v for k, v in row.items() if k.endswith("_paper")} == {None}
    for form in ("md", "html"):
        assert "RTX 3090" not in made.report(folder, "--format", form).stdout


@pytest.mark.parametrize("form", ["md", "html"])
def test_what_is_unlike_the_papers_is_said(form: str, tmp_path: Path) -> None:
    sample = made.evaluated(16, 384, task="mmbench", asked=200, device=made.EMULATED)
    text = made.report(made.saved(tmp_path, sample), "--format", form).stdout
    assert "71.05" in text
    assert "ours is over a sample, 200 of 500 asked" in text
    assert "ours was computed on an emulated device" in text
    assert "71.05 in Table 4, which stands here, and 72.9 in Table 3" in text


def test_no_figure_of_the_paper_below_an_emulated_row(tmp_path: Path) -> None:
    folder = made.saved(tmp_path, made.emulated(), made.evaluated(task="scienceqa"))
    text = made.report(folder).stdout
    assert "68.47" in text[text.index("## Accuracy") : text.index("## Emulated")]
    assert "68.47" not in text[text.index("## Emulated") :]


Change = Callable[[dict[str, Any]], dict[str, Any]]
BAD: dict[str, tuple[Change, str]] = {
    "an older schema": (lambda v: {**v, "schema": 0}, "schema 0"),
    "an unknown key": (lambda v: {**v, "extra": 1}, "unknown keys"),
    "a score over a part": (lambda v: {**v, "complete": False}, "not complete"),
    "too few marks": (lambda v: {**v, "marks": {"q0": 1.0}}, "1 marks for"),
    "no variant": (lambda v: {k: x for k, x in v.items() if k != "variant"}, "lacks"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_evaluations_stop_the_report(name: str, tmp_path: Path) -> None:
    """Also in a folder of good results: else a variant would be missing, and nobody would know."""
    change, says = BAD[name]
    folder = made.saved(tmp_path, made.evaluated(), made.result())
    path = folder / "evaluation-0.json"
    path.write_text(json.dumps(change(json.loads(path.read_text("utf-8")))), "utf-8")
    for place in (path, folder):
        with pytest.raises(BadInput, match=says) as caught:
            made.report(place)
        assert caught.value.exit_code == 3
        assert str(path) in str(caught.value)
        assert str(caught.value).endswith("evaluate again with `imp-deploy eval`.")


def test_bad_measurements_of_quality_stop_the_report(tmp_path: Path) -> None:
    path = made.saved(tmp_path, made.distance()) / "quality-0.json"
    value = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**value, "items": value["items"][1:]}), "utf-8")
    with pytest.raises(BadInput, match="7 of 8 questions"):
        made.report(path)
