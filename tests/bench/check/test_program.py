"""The command as a CI job runs it: exit codes, files, bad input."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from imp_deploy import bundle, quality
from imp_deploy.bench.check import baseline as baselines
from imp_deploy.bench.check import junit, markdown
from imp_deploy.bench.check.candidate import find
from imp_deploy.bench.check.compare import compare
from imp_deploy.bench.check.figures import KINDS, Figures
from imp_deploy.bench.check.rows import ANSWERS
from imp_deploy.errors import BadInput
from tests.bench.check import made
from tests.bench.report import made as timed


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    baselines.update(path, find(made.whole(tmp_path / "old")))
    return path


def test_update_then_check_then_regress(tmp_path: Path) -> None:
    """What a project does: commit a baseline, check, and be stopped by a file that grows by 1 %."""
    base, same = tmp_path / "base.json", made.whole(tmp_path / "same")
    code, written = made.document(same, "--baseline", base, "--update")
    assert code == 0
    assert written["figures"] == {"size": 5, "accuracy": 1, "quality": 1, "speed": 1}
    code, checked = made.document(same, "--baseline", base)
    assert (code, checked["verdict"], checked["counts"]) == (0, "ok", {"ok": 16})
    grown = made.saved(
        tmp_path / "grown",
        made.a_bundle(Q4_0=2046277),
        made.an_evaluation(),
        made.a_quality(),
        made.TIMED,
    )
    page, xml = tmp_path / "page.md", tmp_path / "junit.xml"
    code, checked = made.document(grown, "--baseline", base, "--markdown", page, "--junit", xml)
    assert (code, checked["verdict"]) == (5, "regressed")
    worst = checked["rows"][0]
    assert (worst["kind"], worst["subject"]) == ("size", "Imp-v1.5-3B LLM 4-bit")
    assert "1 regressed, 15 ok" in page.read_text()
    assert len(list(ElementTree.parse(xml).iter("failure"))) == 1


def test_a_drop_of_accuracy_fails_and_chance_does_not(tmp_path: Path, baseline: Path) -> None:
    for wrong, expected in ((85, 5), (61, 0)):
        folder = made.saved(tmp_path / f"{wrong}", made.an_evaluation(made.marks(wrong)))
        done = made.program(folder, "--baseline", baseline, "--only", "accuracy")
        assert done.returncode == expected, done.stderr
    assert "regressed" not in done.stdout


def test_undecided_is_its_own_exit_code(tmp_path: Path, baseline: Path) -> None:
    folder = made.saved(tmp_path / "half", made.a_bundle(), made.half_an_evaluation())
    done = made.program(folder, "--baseline", baseline, "--only", "size, accuracy")
    assert done.returncode == 6
    assert "312 of 500" in done.stderr
    assert done.stderr.count("\n") == 1
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, baseline: Path) -> None:
    worse = made.saved(tmp_path / "new", made.a_bundle(), made.a_quality(seed=2))
    seen = set()
    for i in range(2):
        page, xml = tmp_path / f"{i}.md", tmp_path / f"{i}.xml"
        done = made.program(
            worse, "--baseline", baseline, "--markdown", page, "--junit", xml, "--json"
        )
        assert done.returncode == 6
        seen.add((done.stdout, page.read_bytes(), xml.read_bytes()))
    assert len(seen) == 1


def test_wrong_usage(tmp_path: Path, baseline: Path) -> None:
    folder = made.saved(tmp_path / "new", made.a_bundle())
    for wrong in (("--only", "sizes"), ("--growth", "nan"), ("--update", "--junit", "x.xml")):
        done = made.program(folder, "--baseline", baseline, *wrong)
        assert done.returncode == 2, wrong


# Bad input


def refused(*arguments: object, json_too: bool = False) -> str:
    done = made.program(*arguments, *(["--json"] if json_too else []))
    assert done.returncode == 3, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_no_usable_baseline(tmp_path: Path, baseline: Path) -> None:
    folder = tmp_path / "old"
    path = tmp_path / "changed.json"
    assert "--update" in refused(folder, "--baseline", tmp_path / "none.json", json_too=True)
    assert "is a folder" in refused(folder, "--baseline", tmp_path)
    text = baseline.read_text()
    path.write_text(text.replace('"schema": 1', '"schema": 0'))
    message = refused(folder, "--baseline", path)
    assert "schema 0" in message
    assert "--update" in message


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"scene-0": 0,', '"scene-0": 2,', "between 0 and 1"),
        ('"scene-0": 0,', '"scene-0": NaN,', "cannot be"),
        ('"scene-0": 0,', "", "not complete"),
        ('"kind": "baseline"', '"kind": "evaluation"', "no baseline"),
        ('"agree": "11"', '"agree": "1x"', "do not belong together"),
        ('"agree": "11"', '"agree": "111"', "do not belong together"),
        ('"bytes": 2026016', '"bytes": -1', "cannot be"),
        ('"bytes": 2026016', '"bytes": 2026016, "more": 1', "unknown keys"),
        ('"bits": 8, "resolution": null', '"bits": 4, "resolution": null', "same thing"),
        ('"T_VE": [', '"T_VF": [', "not complete"),
        ('"T_VE": [', '"T_VE": [-1,', "not complete"),
        ('"quality": [', '"quality": [[', "not valid JSON"),
    ],
)
def test_a_broken_baseline(tmp_path: Path, baseline: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "changed.json"
    text = baseline.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput, match=told):
        baselines.load(path)


def test_a_truncated_baseline(tmp_path: Path, baseline: Path) -> None:
    path = tmp_path / "cut.json"
    path.write_text(baseline.read_text()[:-20])
    with pytest.raises(BadInput, match="not valid JSON"):
        baselines.load(path)


def test_a_candidate_that_did_not_answer_everything_is_no_baseline(
    tmp_path: Path, baseline: Path
) -> None:
    before = baseline.read_bytes()
    half = made.saved(tmp_path / "half", made.half_an_evaluation())
    assert "312 of 500" in refused(half, "--baseline", baseline, "--update")
    few = made.saved(tmp_path / "few", timed.incomplete())
    assert "repetitions" in refused(few, "--baseline", baseline, "--update")
    assert baseline.read_bytes() == before


def test_update_overwrites_baselines_only(tmp_path: Path, baseline: Path) -> None:
    figures, path = baselines.load(baseline), tmp_path / "file"
    text = baseline.read_text()
    for broken in (text[:200], text.replace('"schema": 1', '"schema": 0'), ""):
        path.write_text(broken)
        baselines.update(path, figures)
        assert path.read_text() == text
    path.write_text('{"schema": 1, "name": "a bundle"}')
    with pytest.raises(BadInput, match="no baseline"):
        baselines.update(path, figures)
    assert "a bundle" in path.read_text()


def test_no_candidate(tmp_path: Path, baseline: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no figure" in refused(empty, "--baseline", tmp_path / "new.json", "--update")
    assert "does not exist" in refused(tmp_path / "none", "--baseline", baseline)
    nothing = tmp_path / "nothing.json"
    nothing.write_text(baselines.render(Figures()))
    assert "nothing to compare" in refused(empty, "--baseline", nothing)


def test_one_file_is_a_candidate_if_it_is_a_result(tmp_path: Path) -> None:
    folder = made.saved(tmp_path / "all", made.an_evaluation())
    (evaluation,) = folder.rglob("evaluation.json")
    assert find(evaluation) == find(folder)
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(BadInput, match="neither"):
        find(other)


def test_two_results_of_the_same_thing(tmp_path: Path) -> None:
    for number, pair in enumerate(
        [
            (made.an_evaluation(), made.an_evaluation(made.marks(75))),
            (made.a_bundle(), made.a_bundle()),
            (made.a_quality(), made.a_quality(seed=2)),
            (made.TIMED, timed.result(seed=2)),
        ]
    ):
        folder = made.saved(tmp_path / str(number), *pair)
        with pytest.raises(BadInput) as raised:
            find(folder)
        assert str(folder / "0") in str(raised.value)
        assert str(folder / "1") in str(raised.value)


def test_what_lies_beside_is_passed_over(tmp_path: Path) -> None:
    folder = made.whole(tmp_path / "all")
    expected = find(folder)
    (folder / "other.json").write_text('{"kind": "something else"}')
    (folder / "list.json").write_text("[1]")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "evaluation.json").write_text("{broken")
    assert find(folder) == expected
    (folder / "broken.json").write_text("{broken")
    with pytest.raises(BadInput, match=r"broken\.json is not valid JSON"):
        find(folder)


def test_a_file_that_is_not_as_the_manifest_says(tmp_path: Path) -> None:
    folder = made.saved(tmp_path / "all", made.a_bundle())
    (folder / "0" / "Imp-Q4_0.gguf").write_bytes(b"x" * 100)
    with pytest.raises(BadInput, match="100 bytes"):
        find(folder)


def test_a_question_twice(tmp_path: Path) -> None:
    whole = made.a_quality(n=30)
    quality.save(tmp_path / "q.json", replace(whole, items=(*whole.items[:-1], whole.items[0])))
    with pytest.raises(BadInput, match="twice"):
        find(tmp_path)


def test_what_only_a_grader_scores_is_left_out_and_told(tmp_path: Path) -> None:
    graded = made.an_evaluation(
        {}, score=None, submission="mm-vet.json", task=replace(made.TASK, title="MM-Vet")
    )
    notes: list[str] = []
    assert find(made.saved(tmp_path / "x", graded), note=notes.append) == Figures()
    assert "MM-Vet" in notes[0]


def test_update_of_some_kinds_keeps_the_others(tmp_path: Path, baseline: Path) -> None:
    before = baselines.load(baseline)
    faster = made.saved(tmp_path / "new", made.scaled(made.TIMED, 0.5))
    done = made.program(faster, "--baseline", baseline, "--update", "--only", "speed")
    assert done.returncode == 0
    after = baselines.load(baseline)
    assert after.speed != before.speed
    assert replace(after, speed=before.speed) == before


def test_a_baseline_is_read_as_it_was_written(baseline: Path, tmp_path: Path) -> None:
    figures = find(tmp_path / "old")
    assert baselines.load(baseline) == figures
    assert baselines.render(figures) == baseline.read_text()
    assert max(map(len, baseline.read_text().splitlines())) <= 100


def test_one_changed_mark_is_one_changed_line(tmp_path: Path) -> None:
    texts = []
    for wrong in (60, 61):
        folder = made.saved(tmp_path / f"{wrong}", made.an_evaluation(made.marks(wrong)))
        texts.append(baselines.render(find(folder)).splitlines())
    changed = [a for a, b in zip(*texts, strict=True) if a != b]
    assert [line.strip() for line in changed if "scene" in line] == ['"scene-60": 1,']


# What CI shows


def rows_of_all_answers(tmp_path: Path, name: str = "Imp-v1.5-3B") -> Any:
    def renamed(whole: Any) -> Any:
        if isinstance(whole, bundle.Bundle):
            return replace(whole, name=name)
        return replace(whole, bundle=replace(whole.bundle, name=name))

    before = made.saved(
        tmp_path / "a", *map(renamed, (made.a_bundle(), made.an_evaluation(), made.TIMED))
    )
    after = made.saved(
        tmp_path / "b",
        *map(
            renamed,
            (
                made.a_bundle(Q4_0=2100000, Q8_0=3000000),
                made.an_evaluation(made.marks(66)),
                timed.emulated(),
            ),
        ),
    )
    rows = compare(find(before), find(after))
    assert {row.answer for row in rows} == set(ANSWERS)
    return rows


def test_junit_has_what_the_schemas_ask_for(tmp_path: Path) -> None:
    rows = rows_of_all_answers(tmp_path)
    root = ElementTree.fromstring(junit.render(rows))
    assert root.tag == "testsuites"
    cases = 0
    for number, suite in enumerate(root):
        assert suite.tag == "testsuite"
        assert suite.attrib["name"] in KINDS
        assert suite.attrib["id"] == str(number)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
        assert {"package", "hostname"} <= set(suite.attrib)
        float(suite.attrib["time"])
        tags = [child.tag for child in suite]
        inside = suite.findall("testcase")
        assert tags == ["properties", *["testcase"] * len(inside), "system-out", "system-err"]
        assert suite.attrib["tests"] == str(len(inside))
        for tag, count in (("failure", "failures"), ("error", "errors")):
            found = list(suite.iter(tag))
            assert suite.attrib[count] == str(len(found))
            assert all(each.attrib["type"] and each.attrib["message"] for each in found)
        assert all({"name", "classname", "time"} == set(case.attrib) for case in inside)
        cases += len(inside)
    assert cases == len(rows)
    failures = [case for case in root.iter("testcase") if case.find("failure") is not None]
    assert len(failures) == sum(row.answer == "regressed" for row in rows)


def test_names_from_outside_are_no_markup(tmp_path: Path) -> None:
    rows = rows_of_all_answers(tmp_path, name=timed.NASTY)
    root = ElementTree.fromstring(junit.render(rows))
    assert any("<script>" in case.attrib["name"] for case in root.iter("testcase"))
    page = markdown.render(rows)
    assert "<script>" not in page
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {9}


def test_the_page_says_what_happened_and_what_to_do(tmp_path: Path) -> None:
    page = markdown.render(rows_of_all_answers(tmp_path))
    head = page.splitlines()[2]
    assert head.startswith("**Regression: 1 regressed, 4 incomparable, ")
    assert "--update" in page.splitlines()[-1]
    assert page.index("❌") < page.index("❔") < page.index("<details>")


def test_reports_are_refused_where_they_cannot_be_written(tmp_path: Path, baseline: Path) -> None:
    for option in ("--markdown", "--junit"):
        for place in (tmp_path, tmp_path / "none" / "x"):
            refused(tmp_path / "old", "--baseline", baseline, option, place)


def test_results_of_another_bundle_than_the_one_beside_them_are_refused(tmp_path: Path) -> None:
    """A CI job that kept its results, and forgot to evaluate the new bundle, must not pass."""
    new = replace(
        made.a_bundle(),
        files=tuple(replace(f, sha256="77" * 32) for f in made.a_bundle().files),
    )
    for result in (made.an_evaluation(), made.a_quality(), made.TIMED):
        folder = made.saved(tmp_path / type(result).__name__, new, result)
        with pytest.raises(BadInput, match=r"another .*gguf than the bundle Imp-v1\.5-3B beside"):
            find(folder)


def test_a_kind_does_not_vanish_from_a_baseline(tmp_path: Path, baseline: Path) -> None:
    before = baseline.read_text()
    folder = made.saved(tmp_path / "new", made.a_bundle())
    done = made.program(folder, "--baseline", baseline, "--update")
    assert done.returncode == 3
    assert "accuracy and quality and speed" in done.stderr
    assert baseline.read_text() == before


def test_answers_that_are_not_those_of_the_score_are_refused(tmp_path: Path) -> None:
    for name, change in (("gone", None), ("shorter", 1)):
        folder = made.saved(tmp_path / name, made.an_evaluation())
        (answers,) = folder.rglob("*.answers.jsonl")
        if change is None:
            answers.unlink()
        else:
            answers.write_text("".join(answers.read_text().splitlines(keepends=True)[change:]))
        with pytest.raises(BadInput, match="does not hold the answers"):
            find(folder)


def test_a_bundle_that_lacks_a_file_is_refused_and_a_manifest_alone_is_not(tmp_path: Path) -> None:
    folder = made.saved(tmp_path / "one", made.a_bundle())
    assert len(find(folder).size) == 5
    present = folder / "0" / "Imp-Q4_0.gguf"
    present.write_bytes(bytes(2026016))
    with pytest.raises(BadInput, match=r"gguf is missing"):
        find(folder)


def test_reports_do_not_overwrite_what_they_are_about(tmp_path: Path, baseline: Path) -> None:
    before = baseline.read_text()
    for options in (
        ("--markdown", baseline),
        ("--junit", baseline),
        ("--markdown", tmp_path / "x", "--junit", tmp_path / "x"),
    ):
        assert made.program(tmp_path / "old", "--baseline", baseline, *options).returncode == 3
    assert baseline.read_text() == before
    done = made.program(tmp_path / "old", "--baseline", baseline, "--markdown", "/dev/stdout")
    assert done.returncode == 0
    assert "16 ok" in done.stdout
