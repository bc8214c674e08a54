"""Long runs: what is kept when one is interrupted, and what one bad step costs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from imp_deploy.errors import DeviceError
from imp_deploy.runner import Job, Step, answer_for, parse_results, run_job
from tests.native.jobs import PROMPT, Runner, Value, read_results, render


@pytest.fixture
def picture(runner: Runner) -> Path:
    """A small grey picture."""
    path = runner.folder / "grey.png"
    Image.new("RGB", (30, 20), "grey").save(path)
    return path


def test_finished_steps_are_not_run_again(runner: Runner, picture: Path) -> None:
    """Otherwise a broken connection costs the hours of an evaluation that were done already."""
    out = runner.folder / "out"
    steps = [
        runner.step(name, picture, max_tokens=1) for name in ("a", 'b "quoted" \\ %', "c\td\u20ac")
    ]
    before = runner.run(steps[:2], out=out)
    after = runner.run(steps, out=out)
    assert after[:2] == before
    assert [line["step"] for line in after] == [step["id"] for step in steps]


def test_nothing_left_needs_no_model(runner: Runner, picture: Path) -> None:
    """Otherwise asking whether a run is complete costs the loading of gigabytes."""
    out = runner.folder / "out"
    steps = [runner.step("a", picture, max_tokens=1)]
    before = runner.run(steps, out=out)
    assert runner.run(steps, [("model", "/nowhere"), ("mmproj", "/nowhere")], out) == before


def test_an_unfinished_line_is_cut_off(runner: Runner, picture: Path) -> None:
    """Otherwise a run that was killed while writing leaves a file that nothing can read."""
    out = runner.folder / "out"
    steps = [runner.step(name, picture, max_tokens=1) for name in "ab"]
    [first] = runner.run(steps[:1], out=out)
    with out.open("a") as file:
        file.write('{"step": "b", "status": "ok", "text": "half a l')
    lines = runner.run(steps, out=out)
    assert lines[0] == first
    assert [line["step"] for line in lines] == ["a", "b"]


def test_a_killed_run_goes_on(runner: Runner, picture: Path) -> None:
    """Otherwise a phone that kills the runner for its memory costs the whole run."""
    out = runner.folder / "out"
    steps = [runner.step(str(n), picture, max_tokens=30, ignore_eog=1) for n in range(12)]
    process = runner.start(render(runner.job(), steps), out)
    deadline = time.monotonic() + 120
    while not (out.exists() and out.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = out.read_bytes()
    finished = kept.count(b"\n")
    assert 2 <= finished < len(steps)
    lines = runner.run(steps, out=out)
    assert out.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    assert [line["step"] for line in lines] == [step["id"] for step in steps]
    assert len({tuple(line["token_ids"]) for line in lines}) == 1


def test_two_runs_cannot_write_the_same_results(runner: Runner, picture: Path) -> None:
    """Otherwise a runner left behind by a lost connection writes between its successor's lines."""
    out = runner.folder / "out"
    steps = [runner.step(str(n), picture, max_tokens=200, ignore_eog=1) for n in range(50)]
    process = runner.start(render(runner.job(), steps), out)
    while not out.exists() or not out.read_bytes():
        assert process.poll() is None
        time.sleep(0.005)
    assert "another run" in runner.fail(render(runner.job(), steps), out)
    process.kill()
    process.communicate()


def bad_steps(runner: Runner, picture: Path) -> dict[str, tuple[str, Mapping[str, Value]]]:
    """Per id the kind of error, and what the step says instead of what would be right."""
    folder = runner.folder
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no picture\n" * 100)
    (folder / "sound.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVE" + bytes(100))
    (folder / "cut.png").write_bytes(picture.read_bytes()[:40])
    (folder / "folder.png").mkdir()
    with (folder / "vast.png").open("wb") as file:
        file.truncate((256 << 20) + 1)
    Image.new("1", (20000, 10)).save(folder / "wide.png")
    return {
        "missing": ("image", {"image": folder / "missing.png"}),
        "empty": ("image", {"image": folder / "empty.png"}),
        "text": ("image", {"image": folder / "text.png"}),
        "sound": ("image", {"image": folder / "sound.wav"}),
        "cut": ("image", {"image": folder / "cut.png"}),
        "folder": ("image", {"image": folder / "folder.png"}),
        "vast": ("image", {"image": folder / "vast.png"}),
        "wide": ("image", {"image": folder / "wide.png", "mode": "pad"}),
        "no marker": ("prompt", {"prompt": "What is it?"}),
        "two markers": ("prompt", {"prompt": "<image><image>"}),
        "long prompt": ("context", {"prompt": "<image>" + "word " * 100_000}),
        "long answer": ("context", {"max_tokens": 1_000_000}),
        "no folder": ("output", {"logits": folder / "nowhere" / "logits"}),
    }


def test_a_bad_step_costs_only_itself(runner: Runner, picture: Path) -> None:
    """Otherwise one broken picture among thousands ends a night's evaluation."""
    bad = bad_steps(runner, picture)
    steps = [
        {**runner.step(name, picture, max_tokens=1), **keys} for name, (_, keys) in bad.items()
    ]
    marked: dict[str, Value] = {"id": "marker", "prompt": "<image>", "max_tokens": 1}
    blank: dict[str, Value] = {"id": "blank", "prompt": "", "max_tokens": 1}
    good = runner.step("good", picture, max_tokens=1)
    *lines, last = runner.run([*steps, marked, blank, good])
    kinds = {name: kind for name, (kind, _) in bad.items()} | {
        "marker": "prompt",
        "blank": "prompt",
    }
    assert {line["step"]: line.get("kind") for line in lines} == kinds
    assert all(line["status"] == "error" and line["message"] for line in lines)
    assert last["status"] == "ok"
    assert not list(runner.folder.glob("*.tmp"))


def test_a_failed_step_is_tried_again(runner: Runner, picture: Path) -> None:
    """Otherwise a picture that was pushed too late stays an error for ever."""
    out = runner.folder / "out"
    late = runner.folder / "late.png"
    steps = [runner.step("a", late, max_tokens=1)]
    assert [line["status"] for line in runner.run(steps, out=out)] == ["error"]
    late.write_bytes(picture.read_bytes())
    assert [line["status"] for line in runner.run(steps, out=out)] == ["error", "ok"]


def test_odd_bytes_do_not_break_the_results(runner: Runner) -> None:
    """Otherwise one file name or half a character makes a line that no JSON parser reads."""
    job = render(
        runner.job(),
        [runner.step('\x01\n"\\\x7f\u20ac', Path('/no\x01\n"\\')), runner.step("2", Path("MARK"))],
    )
    process = runner.start(
        job.replace("MARK", "/no/%E2%82/%FF%C0%80/%ED%A0%80/end"), runner.folder / "out"
    )
    process.communicate()
    first, second = read_results(runner.folder / "out")
    assert first["step"] == '\x01\n"\\\x7f\u20ac'
    assert '/no\x01\n"\\:' in first["message"]
    assert (
        os.fsdecode(b"/no/\xe2\x82/\xff\xc0\x80/\xed\xa0\x80/end")
        .encode("utf-8", "surrogateescape")
        .decode("utf-8", "replace")
        in second["message"]
    )


def test_a_model_that_cannot_be_loaded(runner: Runner, picture: Path) -> None:
    """Otherwise the reason is lost on the phone, or the run seems to have done nothing."""
    out = runner.folder / "failed.jsonl"
    junk = runner.folder / "junk.gguf"
    junk.write_bytes(b"no model" * 100)
    keys = dict(runner.job())
    swapped = {"model": keys["mmproj"], "mmproj": keys["model"]}
    for change in (
        {"model": "/nowhere.gguf"},
        {"model": junk},
        {"mmproj": junk},
        {"mmproj": keys["model"]},
        swapped,
    ):
        out.unlink(missing_ok=True)
        job = {**keys, **change}
        steps = [runner.step(name, picture) for name in "ab"]
        sentence = runner.fail(render(list(job.items()), steps))
        lines = read_results(out)
        assert [line["step"] for line in lines] == ["a", "b"]
        for line in lines:
            assert (line["status"], line["kind"]) == ("error", "model")
            assert line["message"] in sentence
        assert any(str(path) in sentence for path in change.values())


def test_a_broken_model_is_blamed_on_what_it_cost(runner: Runner, picture: Path) -> None:
    """Otherwise steps that other runs did, or will do, into the same file look as if they failed,
    or those that did fail are never tried again."""
    out = runner.folder / "out"
    steps = [runner.step(name, picture, max_tokens=1) for name in "ab"]
    runner.run(steps[:1], out=out)
    runner.fail(render([("model", "/nowhere"), ("mmproj", "/nowhere")], steps), out)
    states = [(line["step"], line["status"]) for line in runner.run(steps, out=out)]
    assert states == [("a", "ok"), ("b", "error"), ("b", "ok")]


def test_what_is_said_of_a_broken_model(runner: Runner, picture: Path) -> None:
    """Otherwise whoever asks a question learns that the runner failed, and not why."""
    keys = dict(runner.job())
    junk = runner.folder / "junk.gguf"
    junk.write_bytes(b"no model" * 100)
    steps = tuple(
        Step(id=name, prompt=PROMPT, max_tokens=1, image=picture, side=runner.side) for name in "ab"
    )
    job = Job(model=junk, mmproj=Path(str(keys["mmproj"])), stop=(), steps=steps, threads=1)
    with pytest.raises(DeviceError, match=r"^cannot load the model .*junk\.gguf"):
        run_job(runner.binary, job, runner.folder)
    records = parse_results((runner.folder / "results.jsonl").read_text())
    assert set(records) == {"a", "b"}
    with pytest.raises(DeviceError, match="junk"):
        answer_for(records, "b")
    with pytest.raises(DeviceError, match="without a result for step c"):
        answer_for(records, "c")


GOOD = "id a\nprompt hello\nmax_tokens 1\n"
JOBS = {
    "": 0,
    "imp-job 2\nmodel m\nstep\n" + GOOD: 1,
    "imp-job 1\nmodel m\n": 2,
    "imp-job 1\nstep\n" + GOOD: 1,
    "imp-job 1\nmodel m\ncolour red\nstep\n" + GOOD: 3,
    "imp-job 1\nmodel m\nmodel n\nstep\n" + GOOD: 3,
    "imp-job 1\nmodel m\nthreads -1\nstep\n" + GOOD: 3,
    "imp-job 1\nmodel m\nthreads 2x\nstep\n" + GOOD: 3,
    "imp-job 1\nmodel m\nthreads 99999999999999999999\nstep\n" + GOOD: 3,
    "imp-job 1\nmodel m\nstop\nstep\n" + GOOD: 3,
    "imp-job 1\r\nmodel m\r\nstep\r\n": 1,
    "imp-job 1\nmodel m\n\nstep\n" + GOOD: 3,
    "imp-job 1\nmodel 100%\nstep\n" + GOOD: 2,
    "imp-job 1\nmodel m%00n\nstep\n" + GOOD: 2,
    "imp-job 1\nmodel m\nstep\nthreads 1\n" + GOOD: 4,
    "imp-job 1\nmodel m\nstep\nid a\nprompt hello\n": 3,
    "imp-job 1\nmodel m\nstep\n" + GOOD + "step\n" + GOOD: 8,
    "imp-job 1\nmodel m\nstep\n" + GOOD + "ignore_eog yes\n": 7,
    "imp-job 1\nmodel m\nstep\n" + GOOD + "pixels p\n": 3,
    "imp-job 1\nmodel m\nmmproj v\nstep\n" + GOOD + "image i\n": 4,
    "imp-job 1\nmodel m\nmmproj v\nstep\n" + GOOD + "image i\nside 196\nmode stretch\n": 10,
    "imp-job 1\nmodel m\nstep\n" + GOOD + "image i\nside 196\nmode pad\n": 3,
}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_that_cannot_be_understood(runner: Runner, job: str) -> None:
    """Otherwise a misspelt key is ignored, and something else is measured than was asked for."""
    sentence = runner.fail(job)
    assert f"job.txt, line {JOBS[job]}: " in sentence
    assert not (runner.folder / "failed.jsonl").exists()
