"""Markdown, CSV, bad input, and the file that is written."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from imp_deploy import results
from imp_deploy.bench.report.read import read
from imp_deploy.bench.report.rows import Row
from imp_deploy.errors import BadInput
from imp_deploy.results import Result
from tests.bench.report import made


def tables(text: str) -> list[list[list[str]]]:
    """Cells of every Markdown table, as a renderer splits them."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.split("\n"):
        if line.startswith("|"):
            if not inside:
                found.append([])
            found[-1].append([c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]])
        inside = line.startswith("|")
    return found


def test_every_table_has_its_columns(tmp_path: Path) -> None:
    """A cell too many moves all figures of a line below another heading."""
    text = made.report(made.saved(tmp_path, *made.everything(), made.nasty())).stdout
    found = tables(text)
    assert len(found) > 8
    for table in found:
        assert {len(line) for line in table} == {len(table[0])}, table
        assert all(set(cell) <= set("-:") for cell in table[1])


def test_the_markdown_table_has_the_medians(tmp_path: Path) -> None:
    plain = made.result(8, 384)
    head, _, ours, theirs, ratios = tables(made.report(made.saved(tmp_path, plain)).stdout)[0]
    values = dict(zip(head, ours, strict=True))
    summary = results.summary(plain.measured)
    names = {"T_VE (s)": "T_VE", "S_gen (tok/s)": "S_gen", "T_total (s)": "T_total"}
    for shown, metric in names.items():
        assert float(values[shown]) == pytest.approx(summary[metric].median, abs=0.005)
    low, high = map(float, values["T_total p5–p95"].split("–"))
    assert low == pytest.approx(summary["T_total"].p5, abs=0.005)
    assert high == pytest.approx(summary["T_total"].p95, abs=0.005)
    assert dict(zip(head, theirs, strict=True))["T_total (s)"] == "63.57"
    ratio = dict(zip(head, ratios, strict=True))["T_total (s)"]
    assert ratio == f"{summary['T_total'].median / 63.57:.2f}×"


def test_csv_reads_back(tmp_path: Path) -> None:
    """Every figure in full, whatever names hold."""
    folder = made.saved(tmp_path, *made.everything(), made.nasty())
    lines = list(csv.DictReader(io.StringIO(made.report(folder, "--format", "csv").stdout)))
    rows = json.loads(made.report(folder, "--json").stdout)["rows"]
    assert len(lines) == len(rows) == 13
    for line, row in zip(lines, rows, strict=True):
        assert set(line) == set(row)
        for key, value in row.items():
            if isinstance(value, bool) or value is None:
                assert line[key] == {True: "true", False: "false", None: ""}[value]
            elif isinstance(value, float):
                assert float(line[key]) == value
            else:
                assert line[key] == str(value)


def test_names_are_no_markdown(tmp_path: Path) -> None:
    text = made.report(made.saved(tmp_path, made.nasty())).stdout
    outside = re.sub(r"`[^`\n]*`", "", text.replace("\\`", ""))
    assert re.search(r"(?<!\\)<script", outside) is None
    assert "\x07" not in text


def test_another_file_is_kept(tmp_path: Path) -> None:
    """A report that someone annotated is not written over, and the same one is no error."""
    folder = made.saved(tmp_path / "results", made.result())
    out = tmp_path / "report.md"
    assert made.report(folder, "--out", out).exit_code == 0
    assert out.read_text("utf-8") == made.report(folder).stdout
    assert "already" in made.report(folder, "--out", out).stdout
    out.write_text("mine", "utf-8")
    with pytest.raises(BadInput, match="--force"):
        made.report(folder, "--out", out)
    assert out.read_text("utf-8") == "mine"
    made.report(folder, "--out", out, "--force")
    assert out.read_text("utf-8") == made.report(folder).stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.md", "results"]


def test_the_ending_says_the_form(tmp_path: Path) -> None:
    folder = made.saved(tmp_path, made.result())
    made.report(folder, "--out", tmp_path / "a.html")
    made.report(folder, "--out", tmp_path / "a.csv")
    made.report(folder, "--out", tmp_path / "b.csv", "--format", "md")
    begin = {name: (tmp_path / name).read_text("utf-8")[:5] for name in ("a.html", "a.csv")}
    assert begin == {"a.html": "<!DOC", "a.csv": "group"}
    assert (tmp_path / "b.csv").read_text("utf-8").startswith("# ")


def test_json_is_one_document(tmp_path: Path) -> None:
    folder = made.saved(tmp_path, *made.everything())
    value = json.loads(made.report(folder, "--json", "--out", tmp_path / "a.html").stdout)
    assert value["out"] == str(tmp_path / "a.html")
    assert [g["standing"] for g in value["groups"]] == [
        "measured",
        "measured",
        "incomplete",
        "emulated",
    ]
    assert set(value["groups"][1]["differences"]) == {"build flags", "runner SHA-256"}


def test_a_folder_may_hold_other_files(tmp_path: Path) -> None:
    """`bench` may keep a job or a log there; results below it count, each once."""
    folder = made.saved(tmp_path / "all", made.result(8, 196))
    inner = made.saved(folder / "phone", made.result(4, 196))
    (folder / "bundle.json").write_text('{"schema": 1, "files": []}')
    (folder / "notes.txt").write_text("{")
    (folder / ".hidden.json").write_text("{")
    rows = json.loads(made.report(folder, inner / "result-0.json", "--json").stdout)["rows"]
    assert len(rows) == 2


def bad(tmp_path: Path) -> dict[str, Path]:
    good = made.saved(tmp_path / "good", made.result()) / "result-0.json"
    value = json.loads(good.read_text("utf-8"))
    files = {
        "newer": json.dumps({**value, "schema": 2}),
        "older": json.dumps({**value, "schema": 0}),
        "none": json.dumps({**value, "samples": []}),
        "other": '{"schema": 1}',
        "list": "[]",
        "broken": good.read_text("utf-8")[:-40],
        "typed": json.dumps({**value, "started": 5}),
        "binary": "\x00",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.json").write_text(text, "utf-8")
    (tmp_path / "empty").mkdir()
    names = {name: tmp_path / f"{name}.json" for name in files}
    return {**names, "missing": tmp_path / "missing", "empty": tmp_path / "empty"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("newer", "schema 2"),
        ("older", "schema 0"),
        ("none", "no sample"),
        ("other", "no result"),
        ("list", "no result"),
        ("broken", "not valid JSON"),
        ("typed", "started"),
        ("binary", "not valid JSON"),
        ("missing", "does not exist"),
        ("empty", "holds no result"),
    ],
)
def test_bad_input_is_one_sentence(name: str, says: str, tmp_path: Path) -> None:
    place = bad(tmp_path)[name]
    with pytest.raises(BadInput) as caught:
        made.report(place)
    text = str(caught.value)
    assert caught.value.exit_code == 3
    assert says in text
    assert str(place) in text
    assert "imp-deploy bench" in text
    assert text.endswith(".")


def just_begun() -> Result:
    """As `bench` writes it before the first repetition."""
    return made.result(8, 384, samples=(), complete=False)


def test_a_measurement_that_has_just_begun_does_not_stop_the_report(tmp_path: Path) -> None:
    """Whoever looks at the first variants while the others are measured gets a report."""
    folder = made.saved(tmp_path / "all", made.result(4, 196), just_begun())
    (row,) = json.loads(made.report(folder, "--json").stdout)["rows"]
    assert (row["bits"], row["resolution"]) == (4, 196)
    told: list[str] = []
    assert len(read([folder], note=told.append).results) == 1
    assert told == [f"{folder / 'result-1.json'} holds no sample yet and is left out."]
    empty = made.saved(tmp_path / "empty", just_begun())
    assert len(json.loads(made.report(folder, empty, "--json").stdout)["rows"]) == 1
    for places in ([folder, folder / "result-1.json"], [empty], [empty / "result-0.json"]):
        with pytest.raises(BadInput, match="no sample"):
            made.report(*places)


def test_results_without_a_share_of_the_bandwidth(tmp_path: Path) -> None:
    """On a GPU, the bandwidth of the processor's cores says nothing: no share, and no crash."""
    ndk = replace(made.RUNNER, target="android-ndk")
    gpu = made.result(8, 196, runner=ndk, bandwidth_bytes_per_second=0.0)
    assert results.bandwidth_share(gpu) is None
    for number, folder in enumerate(
        (
            made.saved(tmp_path / "gpu", gpu),
            made.saved(tmp_path / "both", gpu, made.result(), replace(gpu, runner=made.RUNNER)),
        )
    ):
        for form in ("md", "html", "csv"):
            text = made.report(folder, "--format", form).stdout
            assert "None" not in text
            assert ("share reached by decoding" in text) == (form == "md" and number == 1)
        rows = json.loads(made.report(folder, "--json").stdout)["rows"]
        assert [row["bandwidth_share"] is None for row in rows].count(False) == number


@pytest.mark.parametrize("name", ["newer", "broken", "typed"])
def test_a_damaged_result_in_a_folder_is_not_passed_over(name: str, tmp_path: Path) -> None:
    """Else the report would lack a variant, and nobody would know."""
    damaged = bad(tmp_path)[name]
    folder = tmp_path / "good"
    damaged.rename(folder / "damaged.json")
    with pytest.raises(BadInput, match="damaged"):
        made.report(folder)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    folder = made.saved(tmp_path / "results", made.result())
    for out in (tmp_path, tmp_path / "no" / "report.md"):
        with pytest.raises(BadInput, match="--out"):
            made.report(folder, "--out", out)


def test_the_maker_stands_once_in_the_name() -> None:
    device = replace(made.PHONE, manufacturer="OnePlus", model="OnePlus 12")
    assert Row("", made.result(device=device)).hardware == "OnePlus 12 (SD 8Gen3, SM8650)"
