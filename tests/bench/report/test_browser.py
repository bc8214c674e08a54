"""The page in a real browser, as wide as a phone and as a desk's screen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bench.report import made

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium; on Debian: apt-get install chromium"
)
SCHEMES = {"dark": (0, "rgb(20, 23, 28)"), "light": (1, "rgb(255, 255, 255)")}
MEASURE = """
const page = document.querySelector("iframe").contentDocument;
page.querySelectorAll("details").forEach((e) => { e.open = true; });
const wide = [...page.querySelectorAll("*")].filter(
  (e) => !e.closest(".box") && !e.closest("svg") && e.getBoundingClientRect().right > %d + 0.5);
document.title = JSON.stringify({
  scroll: page.documentElement.scrollWidth,
  wide: wide.map((e) => e.tagName + "." + e.className),
  back: getComputedStyle(page.documentElement).backgroundColor,
  overlaps: [...page.querySelectorAll(".scatter")].flatMap((chart) => {
    const boxes = [...chart.querySelectorAll(".label")].map((e) => e.getBoundingClientRect());
    return boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) =>
      a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom));
  }),
  plots: page.querySelectorAll(".scatter .label").length,
  outside: [...page.querySelectorAll("svg text")].filter(
    (e) => e.getBoundingClientRect().right > %d).map((e) => e.textContent),
});
"""


def seen(text: str, scheme: str, width: int, tmp_path: Path) -> dict[str, Any]:
    """What Chromium makes of a page, all details open."""
    frame = f'<iframe style="width:{width}px;height:800px;border:0" srcdoc="{html.escape(text)}">'
    script = f"<script>window.onload = () => {{{MEASURE % (width, width)}}}</script>"
    outer = tmp_path / "outer.html"
    outer.write_text(f"<!DOCTYPE html><title></title>{frame}</iframe>{script}", "utf-8")
    number, _ = SCHEMES[scheme]
    done = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            "--hide-scrollbars",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--blink-settings=preferredColorScheme={number}",
            *("--virtual-time-budget=5000", "--dump-dom", outer.as_uri()),
        ],
        capture_output=True,
        check=True,
        timeout=120,
    )
    title = re.search("<title>(.*?)</title>", done.stdout.decode(), re.DOTALL)
    assert title is not None
    found: dict[str, Any] = json.loads(html.unescape(title[1]))
    return found


def fits(scheme: str, width: int, plots: int) -> dict[str, Any]:
    return {
        "scroll": width,
        "wide": [],
        "back": SCHEMES[scheme][1],
        "overlaps": [],
        "plots": plots,
        "outside": [],
    }


@chromium
@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 360), ("light", 1280)])
def test_no_sideways_scrolling(scheme: str, width: int, tmp_path: Path) -> None:
    """Only tables scroll, each in its box, and charts fit: 360 CSS pixels are a small phone."""
    shown = made.saved(tmp_path / "results", *made.everything(), made.nasty())
    text = made.report(shown, "--format", "html").stdout
    assert seen(text, scheme, width, tmp_path) == fits(scheme, width, 0)


@chromium
@pytest.mark.parametrize(
    ("scheme", "width", "variants", "tasks"),
    [("light", 360, 6, 3), ("dark", 360, 2, 1), ("light", 1280, 6, 3), ("light", 1280, 1, 1)],
)
def test_plots_fit_and_labels_stay_apart(
    scheme: str, width: int, variants: int, tasks: int, tmp_path: Path
) -> None:
    """Both plots of each benchmark, a label for each variant."""
    chosen = made.VARIANTS[-variants:]
    names = ("demo", "scienceqa", "mmbench")[:tasks]
    shown = made.saved(
        tmp_path / "results",
        *(made.result(*v) for v in chosen),
        *(made.evaluated(*v, task=name) for v in chosen for name in names),
        *(made.distance(*v) for v in chosen),
        made.for_a_server(),
    )
    text = made.report(shown, "--format", "html").stdout
    assert seen(text, scheme, width, tmp_path) == fits(scheme, width, 2 * variants * tasks)
