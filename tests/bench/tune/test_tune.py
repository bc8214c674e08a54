"""Searching on this machine with the real runner: what is kept, found again and used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imp_deploy import bundle as bundles
from imp_deploy import results
from imp_deploy.bench import describe
from imp_deploy.bench.carry_out import Shown
from imp_deploy.bench.discover import connected
from imp_deploy.bench.evaluate.evaluate import Asking, evaluate
from imp_deploy.bench.evaluate.evaluate import Shown as EvalShown
from imp_deploy.bench.evaluate.selection import select
from imp_deploy.bench.measure import measure
from imp_deploy.bench.programs import program_for
from imp_deploy.bench.session import Session
from imp_deploy.bench.subject import Subject, prepare
from imp_deploy.bench.tasks import demo
from imp_deploy.bench.tune import choice, rounds, search
from imp_deploy.bench.tune.choice import Choice, Key, Tuned
from imp_deploy.bench.tune.rounds import Came
from imp_deploy.bench.tune.search import Found
from imp_deploy.bench.tune.stages import STAGES
from imp_deploy.cli.main import app
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.evaluation import answers_key
from imp_deploy.progress import Unseen
from imp_deploy.results import Result
from imp_deploy.runner import RunSettings
from tests.bench.tune.conftest import SETTINGS, Tune
from tests.small import SIDE

CHOSEN = Choice(threads=1, cpu_mask="", settings=RunSettings(ubatch=32, flash_attention="off"))


@pytest.fixture
def nothing_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that ends with the default's own answer."""
    monkeypatch.setattr(search, "STAGES", ())


def bench(subject: Subject, out: Path, **settings: Any) -> tuple[Path, Result]:
    shown = Shown(pushing=Unseen(), measuring=Unseen(), say=lambda _text: None)
    with connected("host") as device:
        session = Session(device, shown.say)
        asked = replace(SETTINGS, **settings)
        done = measure(session, subject, asked, out=out, force=False, shown=shown)
    assert done.problems == ()
    ((path, result),) = done.files.items()
    return path, result


def keep(found: Found, chosen: Choice) -> None:
    choice.keep(replace(found.tuned, chosen=chosen))


def test_a_search_ends_and_is_found_again(tune: Tune) -> None:
    """One repetition decides nothing, whatever it shows: the default stays."""
    first = tune()
    assert not first.kept
    assert first.tuned.complete
    assert first.tuned.stages == tuple(stage.name for stage in STAGES)
    assert not first.tuned.changed
    tried = {trial.label: trial for trial in first.tuned.trials}
    assert "flash attention off" in tried
    assert tried["flash attention off"].used is not None
    assert tried["flash attention off"].used.flash_attention == "off"
    assert all(
        t.same_tokens or t.verdicts[0].answer != "undecided" for t in tried.values() if t.verdicts
    )
    again = tune()
    assert again.kept
    assert again.tuned == first.tuned
    assert not tune(force=True).kept


def test_nothing_of_it_stays_on_the_device(tune: Tune) -> None:
    tune()
    with connected("host") as device:
        assert [
            run for run in device.shell(f"ls {device.root}/runs").text.split() if "tune" in run
        ] == []


def test_an_interrupted_search_goes_on_behind_its_last_stage(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rounds.run
    calls: list[list[str]] = []

    def broken(
        place: Any, candidates: Mapping[str, Choice], *rest: Any, **more: Any
    ) -> dict[str, Came]:
        calls.append(list(candidates))
        if "flash attention off" in candidates and len(calls) < 100:
            raise DeviceError("The cable was pulled.")
        return whole(place, candidates, *rest, **more)

    monkeypatch.setattr(rounds, "run", broken)
    with pytest.raises(DeviceError, match="cable"):
        tune()
    before = len(calls)
    assert before > 1
    calls.extend([[]] * 100)
    found = tune()
    assert found.tuned.complete
    # The default's answer again, then the stage that was cut off.
    assert calls[100 + before][0] == search.DEFAULT
    assert calls[100 + before + 1] == ["flash attention off"]


def test_a_candidate_that_gives_another_answer_is_rejected(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever time it saves: the default's answer is taken for that of another prompt here, as if
    all candidates had changed it."""
    whole = rounds.run

    def other(
        place: Any, candidates: Mapping[str, Choice], *rest: Any, **more: Any
    ) -> dict[str, Came]:
        came = whole(place, candidates, *rest, **more)
        if list(candidates) == [search.DEFAULT]:
            (sample,) = came[search.DEFAULT].samples
            tokens = (*sample.token_ids[:-1], sample.token_ids[-1] + 1)
            came = {
                search.DEFAULT: replace(
                    came[search.DEFAULT], samples=(replace(sample, token_ids=tokens),)
                )
            }
        return came

    monkeypatch.setattr(rounds, "run", other)
    tuned = tune().tuned
    assert tuned.trials
    assert not tuned.changed
    for trial in tuned.trials:
        assert trial.samples == ()
        assert {v.answer for v in trial.verdicts} <= {"changed", "failed"}
        assert trial.same_tokens is not True


def test_a_candidate_that_cannot_be_run_is_rejected_with_the_reason(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without flash attention llama.cpp takes no quantized cache."""
    impossible = RunSettings(cache_type="q8_0", flash_attention="off")
    stage = replace(
        STAGES[-1],
        candidates=lambda _d, _t, best: {"impossible": replace(best, settings=impossible)},
    )
    monkeypatch.setattr(search, "STAGES", (stage,))
    (trial,) = tune().tuned.trials
    assert [v.answer for v in trial.verdicts] == ["failed"]
    assert trial.verdicts[0].reason


def test_settings_that_do_not_go_together_are_given_up(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was chosen is measured once more, all together: one round shows nothing faster."""
    monkeypatch.setattr(search, "_best", lambda *_: CHOSEN)
    tuned = tune().tuned
    last = tuned.trials[-1]
    assert (last.stage, last.choice) == (search.TOGETHER, CHOSEN)
    (verdict,) = last.verdicts
    assert verdict.answer == "undecided"
    assert not tuned.changed


@pytest.mark.usefixtures("nothing_to_try")
def test_bench_measures_with_what_is_kept_and_says_so(
    tune: Tune, subject: Subject, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="imp-deploy tune"):
        bench(subject, tmp_path / "out", tuned=True)
    keep(tune(), CHOSEN)
    path, result = bench(subject, tmp_path / "out", tuned=True)
    assert "-tuned-" in path.name
    assert (result.protocol.threads, result.protocol.settings) == (1, CHOSEN.settings)
    (sample,) = result.samples
    assert sample.settings is not None
    assert (sample.settings.ubatch, sample.settings.flash_attention) == (32, "off")
    plain, other = bench(subject, tmp_path / "out")
    assert plain != path
    assert other.protocol.settings is None
    assert results.load(path) == result


@pytest.mark.usefixtures("nothing_to_try")
def test_run_uses_what_is_kept_unless_threads_are_given(
    tune: Tune, small_bundle: Path, tmp_path: Path
) -> None:
    keep(tune(), CHOSEN)
    picture = tmp_path / "picture.ppm"
    picture.write_bytes(prepare(small_bundle, SETTINGS).picture)

    def asked(*more: str) -> Any:
        argv = ["run", str(small_bundle), "--image", str(picture), "--prompt", "What is it?"]
        options = ["--vision-bits", "16", "--max-tokens", "2", "--json", *more]
        done = CliRunner().invoke(app, argv + options, catch_exceptions=False)
        assert done.exit_code == 0
        return json.loads(done.stdout)["settings"]

    assert asked()["flash_attention"] == "off"
    assert asked("--threads", "1")["flash_attention"] == "on"


def test_eval_asks_with_what_is_kept(demo_bundle: Path, tmp_path: Path) -> None:
    """And what an earlier version answered without settings keeps its name."""
    loaded = bundles.load(demo_bundle)
    variant = bundles.choose(loaded, vision_bits=16)
    few = select(demo.TASK, None, limit=2)
    shown = EvalShown(pushing=Unseen(), answering=Unseen())
    with connected("host") as device:
        session = Session(device, lambda _text: None)
        record = describe.describe(device)
        key = choice.key_for(record, loaded, variant, program_for(record, Unseen()).sha256)
        asking = Asking(folder=demo_bundle, bundle=loaded, selection=few, tuned=True)
        with pytest.raises(BadInput, match="imp-deploy tune"):
            evaluate(session, asking, variant, out=tmp_path / "a", force=False, shown=shown)
        default = Choice(threads=0, cpu_mask="")
        choice.keep(tuned(key, default, CHOSEN))
        _, done = evaluate(session, asking, variant, out=tmp_path / "a", force=False, shown=shown)
        asking = replace(asking, tuned=False, threads=1)
        _, plain = evaluate(session, asking, variant, out=tmp_path / "b", force=False, shown=shown)
    assert done.complete
    assert (done.protocol.threads, done.protocol.settings) == (1, CHOSEN.settings)
    assert plain.protocol.settings is None
    assert answers_key(plain) != answers_key(done)
    before = (plain.protocol.max_tokens, 1, plain.protocol.cpu_mask, plain.protocol.template)
    files = (file.sha256 for file in plain.bundle.files)
    parts = [plain.task.sha256, plain.runner.sha256, *files, before]
    assert answers_key(plain) == hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def tuned(key: Key, default: Choice, chosen: Choice) -> Tuned:
    return Tuned(
        key=key,
        bits=4,
        resolution=196,
        vision_bits=16,
        repetitions=5,
        generated_tokens=64,
        default=default,
        chosen=chosen,
        stages=(),
        trials=(),
        started="2026-03-14T09:26:53+00:00",
        complete=True,
    )


@pytest.mark.usefixtures("nothing_to_try")
def test_a_choice_holds_for_its_files_and_its_runner_only(tune: Tune, cache: Path) -> None:
    found = tune()
    key = found.tuned.key
    assert choice.kept(key) == found.tuned
    for other in ("llm_sha256", "vision_sha256", "runner_sha256", "serial", "fingerprint", "soc"):
        assert choice.kept(replace(key, **{other: "another"})) is None
    found.path.write_text("{")
    with pytest.raises(BadInput, match="tune again"):
        choice.kept(key)
    assert not tune().kept  # a damaged one is found anew
    assert len(list((cache / "tuned").glob("*.json"))) == 1


def test_the_command(small_bundle: Path) -> None:
    argv = ["tune", str(small_bundle), "--device", "host", "--repetitions", "1", "--bits", "4"]
    options = ["--resolution", str(SIDE), "--max-tokens", "2"]
    done = CliRunner().invoke(app, [*argv, *options, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    value = json.loads(done.stdout)
    assert (value["kept"], value["changed"], value["emulated"]) == (False, False, False)
    assert value["tuning"]["chosen"] == value["tuning"]["default"]
    again = CliRunner().invoke(app, argv + options, catch_exceptions=False)
    assert "Chosen: the defaults." in again.stdout
    assert "found before" in again.stderr


@pytest.mark.parametrize("option", [("--threads", "2"), ("--cpu-mask", "1"), ("--ndk",)])
def test_tuned_settings_go_with_no_others(small_bundle: Path, option: tuple[str, ...]) -> None:
    argv = ["bench", str(small_bundle), "--device", "host", "--tuned", *option]
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 2
    assert "--tuned" in done.stderr
