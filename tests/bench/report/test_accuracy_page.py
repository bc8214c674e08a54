"""Accuracies on the HTML page: well-formed, the right figures, the same in picture and table."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tests.bench.report import made
from tests.bench.report.parsed import Element, parse


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    nasty = made.evaluated(8, 384)
    nasty = replace(
        nasty,
        bundle=replace(nasty.bundle, name=made.NASTY, weights_sha256=made.NASTY),
        task=replace(nasty.task, title=made.NASTY, sha256=made.NASTY),
        device=replace(nasty.device, model=made.NASTY),
        runner=replace(nasty.runner, llama_cpp=made.NASTY),
    )
    folder = made.saved(
        tmp_path_factory.mktemp("whole"),
        *made.table4(),
        made.emulated(),
        made.unfinished(4, 384, task="mme"),
        made.for_a_server(),
        nasty,
    )
    text: str = made.report(folder, "--format", "html").stdout
    return text


@pytest.fixture(scope="module")
def tree(whole: str) -> Element:
    return parse(whole)


def test_well_formed_and_nothing_from_outside_in_it(whole: str, tree: Element) -> None:
    ElementTree.fromstring(whole)
    assert not {e.name for e in tree.below()} & {"script", "link", "img", "iframe", "object"}
    assert "\x07" not in whole
    assert "None" not in whole
    assert tree.all("title")[0].text == "Measured latency and accuracy"


def test_every_row_has_every_cell(tree: Element) -> None:
    """A cell too many moves all figures of a line below another heading."""
    for table in tree.all("table"):
        counts = {
            sum(int(c.attributes.get("colspan", "1")) for c in line.all("td") + line.all("th"))
            for line in table.all("tr")
        }
        assert len(counts) == 1, table.text


def test_accuracies_stand_beside_the_times(tree: Element) -> None:
    """The paper's Table 4 in full: size, the four times, accuracies, ours and the paper's."""
    table = next(t for t in tree.all("table", "latency") if "T_total" in t.text)
    head = [cell.text for cell in table.all("thead")[0].all("th")]
    place = next(i for i, text in enumerate(head) if text.startswith("MMBench"))
    last = table.all("tbody")[-1]
    ours, theirs = last.all("tr", "ours")[0], last.all("tr", "paper")[0]
    assert ours.all("td")[place - 1].text == "★ 84.00 81.20–86.50 500 asked"
    assert theirs.all("td")[place - 1].text == "63.14"
    assert "The accuracies were computed on host: EPYC 7763." in tree.text


def test_plots_are_readable_without_eyes(tree: Element) -> None:
    ids = [e.attributes["id"] for e in tree.below() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    levels = [int(e.name[1]) for e in tree.below() if re.fullmatch(r"h[1-6]", e.name)]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert all(h.attributes.get("scope") in ("row", "col") for h in tree.all("th"))
    plots = tree.all("svg", "scatter")
    assert len(plots) == 3 + 3 + 1
    for plot in plots:
        title, summary = plot.children[:2]
        assert isinstance(title, Element)
        assert isinstance(summary, Element)
        assert " against " in title.text
        assert summary.text.count(" to ") == len(plot.all("circle"))
        named = plot.attributes["aria-labelledby"].split()
        assert named == [title.attributes["id"], summary.attributes["id"]]


def test_points_lie_where_their_figures_are(tree: Element) -> None:
    """Read back from the picture by its own ticks, and compared with the table below it."""
    figure = next(f for f in tree.all("figure") if f.all("svg", "scatter"))
    (plot,) = figure.all("svg", "scatter")
    ticks = [t for t in plot.all("text", "axis") if t.attributes.get("x") == "-8"]
    low, high = ((float(t.attributes["y"]) - 4, float(t.text)) for t in (ticks[0], ticks[-1]))
    slope = (high[1] - low[1]) / (high[0] - low[0])
    assert slope < 0  # more is higher up, and y counts downwards
    lines = {line.all("td")[0].text: line for line in figure.all("tbody")[0].all("tr")}
    dots = [s for s in plot.all("svg") if s.all("circle")]
    assert len(dots) == len(lines) == 6
    places = []
    for dot in dots:
        line = lines[dot.all("text", "label")[0].text].all("td")
        value = low[1] + slope * (float(dot.attributes["y"]) - low[0])
        assert value == pytest.approx(float(line[2].text), abs=0.05)
        ends = [float(dot.all("line", "error")[0].attributes[y]) * slope for y in ("y1", "y2")]
        shown = [float(text) - float(line[2].text) for text in line[3].text.split("–")]
        assert ends == pytest.approx(shown[::-1], abs=0.05)
        assert ("best" in dot.all("circle")[0].classes()) == (line[4].text == "yes")
        places.append((float(line[1].text), float(dot.attributes["x"][:-1])))
    assert [p for _, p in sorted(places)] == sorted(p for _, p in places)


def test_the_line_joins_the_front(tree: Element) -> None:
    """In T_total: 16 bits at 196 are as slow as 4 bits at 384 and less accurate."""
    figure = next(f for f in tree.all("figure") if f.all("svg", "scatter"))
    lines = [[c.text for c in line.all("td")] for line in figure.all("tbody")[0].all("tr")]
    assert {line[0] for line in lines if line[4] == "no"} == {"16@196"}
    corners = figure.all("polyline", "front")[0].attributes["points"].split()
    assert len(corners) == 2 * 5 - 1


def test_emulated_rows_have_no_time_plot(tree: Element) -> None:
    sections = {s.all("h2")[0].text: s for s in tree.all("section") if s.all("h2")}
    assert list(sections) == ["Measured", "Accuracy", "Emulated"]
    assert not sections["Emulated"].all("svg", "scatter")
    assert not sections["Emulated"].all("tr", "paper")
    assert "84.00" in sections["Emulated"].text
