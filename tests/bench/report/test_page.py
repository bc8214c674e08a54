"""The HTML page: one file, right figures, nothing from outside in it, readable for everyone."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from imp_deploy import results
from imp_deploy.bench.report import moments, paper
from imp_deploy.bench.report.markup import words
from imp_deploy.bench.report.rows import Row
from imp_deploy.results import METRICS, Result
from tests.bench.report import made
from tests.bench.report.parsed import Element, parse


def page(folder: Path, *shown: Result) -> str:
    done = made.report(made.saved(folder, *shown), "--format", "html")
    assert done.exit_code == 0
    text: str = done.stdout
    return text


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(tmp_path_factory.mktemp("whole"), *made.everything(), made.nasty())


@pytest.fixture(scope="module")
def tree(whole: str) -> Element:
    return parse(whole)


def test_well_formed_as_html_and_as_xml(whole: str, tree: Element) -> None:
    assert whole.startswith("<!DOCTYPE html>")
    assert len(tree.all("html")) == len(tree.all("main")) == len(tree.all("h1")) == 1
    ElementTree.fromstring(whole)


def test_nothing_is_loaded(whole: str, tree: Element) -> None:
    """The page is mailed, archived, and opened without a network."""
    assert not {e.name for e in tree.below()} & {"script", "link", "img", "iframe", "object"}
    references = {
        value
        for e in tree.below()
        for key, value in e.attributes.items()
        if key in ("src", "href", "xlink:href", "data", "action")
    }
    ids = {f"#{e.attributes['id']}" for e in tree.below() if "id" in e.attributes}
    assert references - ids == {paper.LINK}
    style = tree.all("style")[0].text
    assert "url(" not in style
    assert "@import" not in style
    assert "@font-face" not in style
    assert re.findall(r"https?://[^\"<\s]+", whole) == [paper.LINK]


def test_names_are_no_markup(tree: Element, tmp_path: Path) -> None:
    """A device names itself; its name must not run in the reader's browser."""
    nasty = parse(page(tmp_path, made.nasty()))
    plain = parse(page(tmp_path / "plain", made.warned()))
    assert {e.name for e in nasty.below()} <= {e.name for e in plain.below()}
    keys = [{k for e in t.below() for k in e.attributes} for t in (nasty, plain)]
    assert keys[0] <= keys[1]
    assert made.NASTY.replace("\x07", "\ufffd") in nasty.text
    assert "\x07" not in words("\x07\x00\x85\ufffe")
    assert len(tree.all("article")) == 5


def test_every_figure_is_the_samples(tmp_path: Path) -> None:
    """Read back from the page, to half of the last digit shown."""
    wanted = made.family()
    tree = parse(page(tmp_path, *wanted))
    lines = tree.all("tr", "ours")
    assert len(lines) == 6
    for line in lines:
        model, bits = line.all("th")[0].text, int(line.all("td")[0].text)
        (result,) = (
            r
            for r in wanted
            if f"Imp-v1.5-3B@{r.variant.resolution}" == model and r.variant.bits == bits
        )
        summary = results.summary(result.measured)
        for metric, median, spread in zip(
            METRICS, line.all("span", "median"), line.all("span", "range")[1:5], strict=True
        ):
            statistics = summary[metric]
            half = 0.5 * 10.0 ** -len(median.text.partition(".")[2]) + 1e-9
            assert float(median.text) == pytest.approx(statistics.median, abs=half)
            low, high = map(float, spread.text.split("–"))
            assert low == pytest.approx(statistics.p5, abs=half)
            assert high == pytest.approx(statistics.p95, abs=half)
    theirs = [cell.text.strip() for cell in tree.all("tr", "paper")[0].all("td", "n")]
    assert [text.strip("\u2007") for text in theirs] == [
        "8", "3.6 GiB", "8.57", "15.73", "11.91", "63.57",
    ]  # fmt: skip


def test_emulated_never_beside_real(tree: Element) -> None:
    sections = {s.all("h2")[0].text: s for s in tree.all("section") if s.all("h2")}
    assert list(sections) == ["Measured", "Incomplete", "Emulated"]
    virtual, real = sections.pop("Emulated"), sections
    assert not virtual.all("tr", "paper")
    assert not virtual.all("tr", "ratio")
    assert "Xiaomi" not in virtual.text
    for line in (r for table in virtual.all("table") for r in table.all("tbody")):
        assert all("emulated" in row.text for row in line.all("tr")), line.text
    assert all(row.text.startswith("emulated: ") for row in virtual.all("div", "row"))
    for section in real.values():
        assert "Virtual" not in section.text
    assert "incomplete" in real["Incomplete"].all("tr", "ours")[0].all("th")[0].text
    assert all("of 5, incomplete" in row.text for row in real["Incomplete"].all("div", "row"))


def test_bars_are_as_long_as_their_figures(tmp_path: Path) -> None:
    """The longest fills the width; the others end where their T_total does."""
    wanted = made.family()
    figure = parse(page(tmp_path, *wanted)).all("figure")[0]
    totals = [results.summary(r.measured)["T_total"].median for r in wanted]
    shown = {}
    for row in figure.all("div", "row"):
        parts = row.all("rect", "bar")
        ends = [float(p.attributes["x"][:-1]) + float(p.attributes["width"][:-1]) for p in parts]
        begins = [float(p.attributes["x"][:-1]) for p in parts]
        assert begins == pytest.approx([0, *ends[:-1]], abs=0.01)
        shown[row.all("p")[0].all("span")[0].text] = ends[-1]
    for result, total in zip(wanted, totals, strict=True):
        assert shown[Row("", result).name] == pytest.approx(100 * total / max(totals), abs=0.01)


def test_readable_without_eyes(tree: Element) -> None:
    """Headings of tables have a scope, pictures a title, and no heading level is skipped."""
    assert all(h.attributes.get("scope") in ("row", "col") for h in tree.all("th"))
    pictures = [s for s in tree.all("svg") if s.attributes.get("role") == "img"]
    assert len(pictures) > 10
    for picture in pictures:
        title = picture.children[0]
        assert isinstance(title, Element)
        assert title.name == "title"
        assert title.text
    ids = [e.attributes["id"] for e in tree.below() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for e in tree.below():
        assert set(e.attributes.get("aria-labelledby", "").split()) <= set(ids)
    levels = [int(e.name[1]) for e in tree.below() if re.fullmatch(r"h[1-6]", e.name)]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def colours(style: str) -> list[dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    found = [dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in (light, dark)]
    assert found[0].keys() == found[1].keys()
    return found


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_enough_in_light_and_dark(tree: Element) -> None:
    """Text 4.5 to 1, shapes 3 to 1: WCAG AA."""
    phases = ("vision", "prompt", "generate", "rest")
    for c in colours(tree.all("style")[0].text):
        for text in ("ink", "soft", "link", "mark"):
            assert contrast(c[text], c["paper"]) >= 4.5, text
        for text in ("ink", "soft"):
            assert contrast(c[text], c["band"]) >= 4.5, text
        assert contrast(c["ink"], c["mark-back"]) >= 4.5
        for phase in phases:
            assert contrast(c[f"on-{phase}"], c[phase]) >= 4.5, phase
            assert contrast(c[phase], c["paper"]) >= 3, phase
        for line in ("prompt", "hot"):
            assert contrast(c[line], c["band"]) >= 3, line


def test_the_time_line_is_the_devices(tmp_path: Path) -> None:
    """All variants of one run on one clock, in the order in which they ran."""
    rows = [Row("", r) for r in made.family()]
    runs = moments.repetitions(rows)
    assert len(runs) == 36
    assert runs[0].begin == 0
    assert all(a.end <= b.begin for a, b in itertools.pairwise(runs))
    first, last = runs[0].sample, runs[-1].sample
    assert runs[-1].end == pytest.approx(last.after.uptime_seconds - first.before.uptime_seconds)
    cluster = moments.clusters(made.PHONE.cores)[0]
    for run in runs:
        points = moments.clocks(run, cluster)
        assert points[0] == (run.begin, 0.4 * 3302400)
        assert all(a[0] <= b[0] for a, b in itertools.pairwise(points))
        assert max(v for _, v in points) == 3302400
    drawn = parse(page(tmp_path, *made.family())).all("svg", "time")
    assert len(drawn) == 1
    assert len(drawn[0].all("polyline", "hottest")) == 36
    for line in drawn[0].all("polyline"):
        for point in line.attributes["points"].split():
            assert 0 <= float(point.split(",")[0]) <= 1000


def test_a_phone_that_was_started_again(tmp_path: Path) -> None:
    """Its clock begins anew; what came later must not be drawn over what came first."""
    plain = made.result(8, 384)
    early, late = plain.samples[:3], plain.samples[3:]
    late = tuple(
        replace(
            s,
            before=replace(s.before, uptime_seconds=60 + 50 * i),
            after=replace(s.after, uptime_seconds=60 + 50 * i + s.seconds.total),
        )
        for i, s in enumerate(late)
    )
    broken = replace(plain, samples=early + late)
    runs = moments.repetitions([Row("", broken)])
    assert [r.sample.round for r in runs] == [0, 1, 2, 3, 4, 5]
    assert all(a.end <= b.begin for a, b in itertools.pairwise(runs))
    assert page(tmp_path, broken)


def test_thinning_keeps_the_extremes() -> None:
    """A short dip of the clock is what the reader looks for."""
    points = [(float(i), 100.0) for i in range(5000)]
    points[1234] = (1234.0, 7.0)
    points[4321] = (4321.0, 900.0)
    kept = moments.thinned(points)
    assert len(kept) <= 160
    assert {points[1234], points[4321]} <= set(kept)
    assert list(kept) == sorted(kept)


def test_a_device_that_tells_nothing(tmp_path: Path) -> None:
    """Neither clocks nor temperatures nor bandwidth: said, and no empty chart."""
    plain = made.result()
    samples = tuple(
        replace(
            s,
            before=replace(s.before, clocks_khz=(0,) * 8, celsius={}),
            after=replace(s.after, clocks_khz=(0,) * 8, celsius={}),
            trace=results.Trace(seconds=(), clocks_khz=(), celsius={}, rss_bytes=()),
        )
        for s in plain.samples
    )
    text = page(tmp_path, replace(plain, samples=samples, bandwidth_bytes_per_second=0.0))
    assert "neither clocks nor temperatures" in text
    assert not parse(text).all("svg", "time")
    assert "Memory bandwidth" not in text


def test_a_share_above_one(tmp_path: Path) -> None:
    """A model that fits into the caches: no bar leaves its track, and the axis can be read."""
    shown = page(tmp_path, *(replace(r, bandwidth_bytes_per_second=3e9) for r in made.family()))
    chart = parse(shown).all("div", "share")[0]
    for bar in chart.all("rect", "bar"):
        assert float(bar.attributes["width"][:-1]) <= 100
    places = [float(t.attributes["x"][:-1]) for t in chart.all("text", "axis")]
    assert all(b - a >= 15 for a, b in itertools.pairwise(places))


def test_a_warning_of_all_variants_is_said_once(tmp_path: Path) -> None:
    """Six times the same sentence hides the one that differs."""
    shared = results.Warning(code="charging", message="The phone was charging.")
    shown = [replace(r, warnings=(*r.warnings, shared)) for r in made.family()]
    (notes,) = parse(page(tmp_path, *shown)).all("ul", "notices")
    lines = [item.text for item in notes.all("li")]
    assert len(lines) == 3
    assert lines.count("charging The phone was charging. all 6 variants") == 1
    codes = [cell.text for cell in parse(page(tmp_path, *shown)).all("td", "codes")]
    assert all("charging" in code for code in codes)
