"""The sums of squares that the runner collects for an importance matrix."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imp_deploy.bench.calibrate.sums import Sums, parse
from tests.native.jobs import Line, Runner, Value, render

LAST = "blk.5.ffn_"  # computed only where logits are asked for


@pytest.fixture
def picture(runner: Runner) -> Path:
    picture = Image.new("RGB", (160, 120), "white")
    picture.paste("red", (20, 30, 60, 70))
    path = runner.folder / "picture.png"
    picture.save(path)
    return path


def collected(
    runner: Runner, *steps: dict[str, Value], **settings: Value
) -> tuple[list[Line], dict[str, Sums]]:
    path = runner.folder / "sums"
    path.unlink(missing_ok=True)
    lines = runner.run(steps, runner.job(imatrix=path, **settings))
    return lines, parse(path.read_bytes())


def decoded(line: Line) -> int:
    """Tokens of the prompt, and of the answer all but the last that was chosen."""
    tokens = line["tokens"]
    chosen = tokens["generated"] + (line["stop"] == "eog")
    return int(tokens["text"] + tokens["visual"] + chosen - 1)


def test_every_token_counts_the_visual_ones_too(runner: Runner, picture: Path) -> None:
    """llama.cpp's tool is text-only: without the visual tokens, most of what the model is
    multiplied by is not weighed at all."""
    steps = [runner.step(name, picture, ignore_eog=1) for name in "ab"]
    lines, sums = collected(runner, *steps)
    wanted = {
        f"blk.{layer}.{part}.weight"
        for layer in range(6)
        for part in ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    }
    assert set(sums) == wanted
    for name, entry in sums.items():
        rows = 2 * 8 if name.startswith(LAST) else sum(map(decoded, lines))
        assert entry.rows == rows, name
        assert entry.squares.shape == (512 if "ffn_down" in name else 256,)
        assert (entry.squares > 0).all()
    assert lines[0]["tokens"]["visual"] > decoded(lines[0]) / 2


def test_the_sums_of_two_steps_are_the_sum_of_their_sums(runner: Runner, picture: Path) -> None:
    """Otherwise the last question, or the first, is all that counts."""
    one, other = runner.step("a", picture), runner.step("b", picture, prompt="<image>Who? Me:")
    _, both = collected(runner, one, other)
    parts = [collected(runner, step)[1] for step in (one, other)]
    for name, entry in both.items():
        assert entry.rows == sum(part[name].rows for part in parts)
        whole = sum(part[name].squares for part in parts)
        np.testing.assert_allclose(entry.squares, whole, rtol=1e-9)


def test_being_watched_changes_no_bit(runner: Runner, picture: Path) -> None:
    """Otherwise the sums are of another model than the one that is quantized."""

    def logits(**settings: Value) -> bytes:
        path = runner.folder / "logits"
        runner.run([runner.step("a", picture, logits=path)], runner.job(**settings))
        return path.read_bytes()

    assert logits() == logits(imatrix=runner.folder / "sums")


def test_a_warm_up_is_not_seen(runner: Runner, picture: Path) -> None:
    """It decodes a token that stands for nothing."""
    step = runner.step("a", picture)
    cold, warm = collected(runner, step)[1], collected(runner, step, warmup=1)[1]
    assert all((cold[name].squares == warm[name].squares).all() for name in cold)
    assert {n: e.rows for n, e in cold.items()} == {n: e.rows for n, e in warm.items()}


def test_a_failed_step_leaves_no_file(runner: Runner, picture: Path) -> None:
    """Sums over some of the questions would pass for those over all."""
    path = runner.folder / "sums"
    steps = [runner.step("a", picture), runner.step("b", runner.folder / "missing.png")]
    lines = runner.run(steps, runner.job(imatrix=path))
    assert [line["status"] for line in lines] == ["ok", "error"]
    assert not path.exists()


def test_a_run_that_was_cut_leaves_no_file_and_begins_anew(runner: Runner, picture: Path) -> None:
    path, out = runner.folder / "sums", runner.folder / "out"
    steps = [runner.step(str(n), picture, max_tokens=100, ignore_eog=1) for n in range(4)]
    job = runner.job(imatrix=path)
    process = runner.start(render(job, steps), out)
    while not out.exists() or not out.read_bytes():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert not list(runner.folder.glob("sums*"))
    runner.run(steps, job, out=out)
    done = {line["step"]: line for line in map(json.loads, out.read_text().splitlines())}
    sums = parse(path.read_bytes())
    assert sums["blk.0.ffn_up.weight"].rows == sum(map(decoded, done.values()))


def test_sums_that_cannot_be_written_are_an_error(runner: Runner, picture: Path) -> None:
    """Otherwise an hour's work is lost without a word."""
    path = runner.folder / "nowhere" / "sums"
    text = render(runner.job(imatrix=path), [runner.step("a", picture)])
    assert str(path) in runner.fail(text)
