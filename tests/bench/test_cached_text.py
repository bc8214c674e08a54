"""Measuring with the text before the image in the cache: a row of its own everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imp_deploy import results
from imp_deploy.bench import follow, kept
from imp_deploy.bench.carry_out import Shown
from imp_deploy.bench.check.compare import compare
from imp_deploy.bench.check.figures import Figures, of_result
from imp_deploy.bench.discover import connected
from imp_deploy.bench.measure import measure
from imp_deploy.bench.report.paper import counterpart
from imp_deploy.bench.report.read import Loaded
from imp_deploy.bench.report.rows import differences, group
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings
from imp_deploy.bench.subject import prepare
from imp_deploy.progress import Unseen
from imp_deploy.results import Result
from imp_deploy.runner import RunSettings
from tests.bench.report import made
from tests.small import SIDE, run_export, small_checkpoint

PLAIN = made.result()
CACHED = replace(
    PLAIN,
    protocol=replace(PLAIN.protocol, name="custom", cached_text=True),
    samples=tuple(replace(sample, kept_tokens=35) for sample in PLAIN.samples),
)
TUNED = replace(PLAIN, protocol=replace(PLAIN.protocol, settings=RunSettings(threads_generate=4)))


def test_a_measurement_with_the_text_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answer with fewer tokens to read, and figures that still add up."""
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.05)
    checkpoint = small_checkpoint(tmp_path / "checkpoint")
    run_export(checkpoint, tmp_path / "bundle", bits=(4,), resolutions=(SIDE,), vision_bits=16)
    settings = Settings(vision_bits=16, generated_tokens=3, warmups=0, repetitions=2, threads=1)

    def bench(**more: Any) -> tuple[Path, Result]:
        shown = Shown(pushing=Unseen(), measuring=Unseen(), say=lambda _text: None)
        asked = replace(settings, **more)
        with connected("host") as device:
            session = Session(device, shown.say)
            subject = prepare(tmp_path / "bundle", asked)
            done = measure(session, subject, asked, out=tmp_path, force=False, shown=shown)
        assert done.problems == ()
        ((path, result),) = done.files.items()
        return path, result

    plain_path, plain = bench()
    path, cached = bench(cached_text=True)
    assert path != plain_path
    assert "-cached-" in path.name
    assert results.load(path) == cached
    for one, other in zip(plain.samples, cached.samples, strict=True):
        assert one.kept_tokens == 0
        assert 0 < other.kept_tokens < other.tokens.text == 41
        assert one.token_ids == other.token_ids
        for sample in (one, other):
            figures = results.metrics(sample)
            count = sample.tokens.text + sample.tokens.visual - sample.kept_tokens
            phases = figures["T_VE"] + count / figures["S_prompt"] + 2 / figures["S_gen"]
            assert phases == pytest.approx(
                sample.seconds.vision + sample.seconds.prompt + sample.seconds.generate
            )
            assert phases <= figures["T_total"]


def test_it_is_never_the_papers_protocol() -> None:
    from tests.bench.test_settings import protocol

    assert protocol(Settings()).name == "paper"
    cached = protocol(Settings(cached_text=True))
    assert (cached.name, cached.cached_text) == ("custom", True)
    assert counterpart(PLAIN) is not None
    assert counterpart(CACHED) is None


def test_files_of_their_own(tmp_path: Path) -> None:
    names = [kept.result_path(tmp_path, each).name for each in (PLAIN, CACHED, TUNED)]
    assert names == [
        "Imp-v1.5-3B-4bit-196-R3CX40ABCDE.json",
        "Imp-v1.5-3B-4bit-196-cached-R3CX40ABCDE.json",
        "Imp-v1.5-3B-4bit-196-tuned-R3CX40ABCDE.json",
    ]


def test_results_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """They know neither of kept text nor of settings."""
    value = results.to_json(PLAIN)
    del value["protocol"]["cached_text"], value["protocol"]["settings"]
    for sample in value["samples"]:
        del sample["kept_tokens"], sample["settings"], sample["vision_repacked_bytes"]
    path = tmp_path / "old.json"
    results.write_json_atomic(path, value)
    assert results.load(path) == PLAIN


@pytest.mark.parametrize("other", [CACHED, TUNED])
def test_no_check_compares_it_with_a_plain_one(other: Result) -> None:
    """Otherwise a cached prefix passes for an improvement of the runner."""
    plain, marked = of_result(PLAIN), of_result(other)
    rows = compare(Figures(speed=(plain,)), Figures(speed=(marked,)))
    assert {row.answer for row in rows} == {"incomparable"}
    both = compare(Figures(speed=(plain, marked)), Figures(speed=(plain, marked)))
    assert {row.answer for row in both} == {"ok"}
    assert len({row.subject for row in both}) == 2
    missing = compare(Figures(speed=(plain, marked)), Figures(speed=(plain,)))
    (row,) = (row for row in missing if row.answer == "incomparable")
    assert ("--cached-text" in row.reason, "--tuned" in row.reason) == (
        other is CACHED,
        other is TUNED,
    )


@pytest.mark.parametrize(("other", "mark"), [(CACHED, "text cached"), (TUNED, "tuned")])
def test_a_report_puts_it_apart_and_marks_it(other: Result, mark: str, tmp_path: Path) -> None:
    loaded = [Loaded(tmp_path / f"{n}.json", each) for n, each in enumerate((PLAIN, other))]
    first, second = group(loaded)
    different = {name for name, _, _ in differences(first, second)}
    assert different <= {
        *("protocol: name", "protocol: cached text", "protocol: settings"),
        *("protocol: threads", "protocol: cpu mask"),
    }
    (row,) = (row for each in (first, second) for row in each.rows if row.result is other)
    assert row.variant.endswith(f", {mark}")
    folder = made.saved(tmp_path / "out", PLAIN, other)
    text = made.report(folder, "--format", "md").stdout
    assert f"Imp-v1.5-3B@196, {mark} |" in text
    assert mark.capitalize() + ":" in text
    made.report(folder, "--format", "html", "--out", str(tmp_path / "page.html"))
    assert f'class="badge">{mark}<' in (tmp_path / "page.html").read_text()


def test_tuned_variants_stand_in_one_table() -> None:
    """Each has settings of its own, and that is what is compared."""
    eight = made.result(8, 196)
    settings = RunSettings(ubatch=64)
    eight = replace(
        eight, protocol=replace(eight.protocol, threads=4, cpu_mask="9c", settings=settings)
    )
    (only,) = group([Loaded(Path("4.json"), TUNED), Loaded(Path("8.json"), eight)])
    assert len(only.rows) == 2
