"""What the runner answers, and the counts and times that it reports with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.native.jobs import Line, Runner, Value

MANY = 12


@pytest.fixture
def picture(runner: Runner) -> Path:
    """Two coloured shapes on a white ground."""
    picture = Image.new("RGB", (160, 120), "white")
    picture.paste("red", (20, 30, 60, 70))
    picture.paste("blue", (90, 50, 140, 100))
    path = runner.folder / "picture.png"
    picture.save(path)
    return path


def read_logits(path: Path, line: Line) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The logits, one row per token that was chosen."""
    chosen = line["tokens"]["generated"] + (line["stop"] == "eog")
    return np.frombuffer(path.read_bytes(), dtype="<f4").reshape(chosen, -1)


@pytest.fixture
def endless(runner: Runner) -> Path:
    """An LLM that never ends an answer by itself, however short the demo's answers are."""
    return runner.favouring(None, by=-1e6)


def prefixes(runner: Runner, picture: Path, model: Path) -> list[str]:
    """The texts of the first 0, 1, 2, ... tokens of one answer."""
    steps = [runner.step(str(n), picture, max_tokens=n) for n in range(MANY + 1)]
    lines = runner.run(steps, runner.job(model=model))
    for line in lines:
        assert line["token_ids"] == lines[-1]["token_ids"][: int(line["step"])]
        assert line["stop"] == "length"
    return [line["text"] for line in lines]


def test_every_token_is_the_likeliest(runner: Runner, picture: Path) -> None:
    """Otherwise the answers are not the greedy ones of PyTorch, and no parity check can pass."""
    [line] = runner.run(
        [runner.step("1", picture, max_tokens=MANY, logits=runner.folder / "logits")]
    )
    logits = read_logits(runner.folder / "logits", line)
    chosen = logits.argmax(axis=1).tolist()
    assert np.isfinite(logits).all()
    assert chosen[: line["tokens"]["generated"]] == line["token_ids"]
    assert line["tokens"]["visual"] == runner.visual_tokens[runner.side]
    assert line["tokens"]["text"] > 0
    assert line["stop"] in ("eog", "length")


def test_a_step_is_the_same_wherever_it_stands(runner: Runner, picture: Path) -> None:
    """Otherwise one question leaks into the next, and an evaluation depends on its order."""
    files = [runner.folder / name for name in "abc"]
    steps = [runner.step(path.name, picture, logits=path) for path in files]
    steps.insert(1, {"id": "text", "prompt": "Quite another text.", "max_tokens": 3})
    other = runner.step("other", picture, mode="pad", prompt="<image> and nothing else")
    lines = runner.run([*steps[:3], other, *steps[3:]])
    assert [line["status"] for line in lines] == ["ok"] * 5
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
    assert lines[1]["tokens"]["visual"] == 0


def test_small_batches_change_no_answer(runner: Runner, picture: Path) -> None:
    """Otherwise a phone that is given small batches for its memory loses part of its prompt."""
    step = runner.step("1", picture)
    [whole] = runner.run([step])
    [pieces] = runner.run([step], runner.job(batch=5, ubatch=3))
    assert pieces["token_ids"] == whole["token_ids"]
    assert pieces["tokens"] == whole["tokens"]


def test_an_exact_number_of_tokens(runner: Runner, picture: Path) -> None:
    """Otherwise a benchmark's generation speed is measured over whatever the answer's length is."""
    model = runner.favouring(None, by=1e6)
    steps = [
        runner.step("free", picture, max_tokens=20, logits=runner.folder / "logits"),
        runner.step("exact", picture, max_tokens=20, ignore_eog=1),
    ]
    free, exact = runner.run(steps, runner.job(model=model))
    assert (free["stop"], free["text"], free["token_ids"]) == ("eog", "", [])
    [ended] = read_logits(runner.folder / "logits", free).argmax(axis=1).tolist()
    assert (exact["stop"], exact["token_ids"]) == ("length", [ended] * 20)
    assert (free["tokens"]["generated"], exact["tokens"]["generated"]) == (0, 20)


def test_a_stop_string_spread_over_tokens(runner: Runner, picture: Path, endless: Path) -> None:
    """Otherwise answers of the Phi-2 models go on behind `</s>`, which is three tokens there."""
    texts = prefixes(runner, picture, endless)
    whole = texts[-1]
    seams = [len(text) for text in texts if 0 < len(text) < len(whole)]
    assert len(set(seams)) > 2
    for seam in {seams[0], seams[-1]}:
        stop = whole[seam - 1 : seam + 1]
        job = [*runner.job(model=endless), ("stop", "never in it"), ("stop", stop)]
        steps = [runner.step("stops", picture, max_tokens=MANY)]
        steps.append({**steps[0], "id": "goes on", "ignore_eog": 1})
        stops, goes_on = runner.run(steps, job)
        assert stops["stop"] == "string"
        assert stops["text"] == whole[: whole.index(stop)]
        assert stop in texts[stops["tokens"]["generated"]]  # its tokens are counted
        assert stop not in texts[stops["tokens"]["generated"] - 1]
        assert (goes_on["stop"], goes_on["text"]) == ("length", whole)


def test_the_earliest_of_two_stop_strings_counts(
    runner: Runner, picture: Path, endless: Path
) -> None:
    """Otherwise what an answer holds depends on the order in which the stop strings are listed."""
    whole = prefixes(runner, picture, endless)[-1]
    job = [*runner.job(model=endless), ("stop", whole[1]), ("stop", whole[0])]
    [line] = runner.run([runner.step("1", picture, max_tokens=MANY)], job)
    assert line["text"] == ""


def test_half_a_character_is_replaced(runner: Runner, picture: Path) -> None:
    """Otherwise an answer that is cut within a character makes a line that no JSON parser reads."""
    first_byte_of_three = runner.favouring("\u00e2", by=1e6)  # as GPT-2's vocabulary writes E2
    steps = [runner.step("1", picture, max_tokens=2, ignore_eog=1)]
    [line] = runner.run(steps, runner.job(model=first_byte_of_three))
    assert line["text"] == "\ufffd\ufffd"


def test_times_add_up(runner: Runner, picture: Path) -> None:
    """Otherwise S_prompt and S_gen are computed from overlapping or missing time."""
    text_only: dict[str, Value] = {"id": "text", "prompt": "Hello", "max_tokens": 2}
    seen, unseen = runner.run([runner.step("image", picture), text_only])
    for line in (seen, unseen):
        times = line["seconds"]
        assert list(times) == ["load", "vision", "prompt", "generate", "total"]
        phases = times["vision"] + times["prompt"] + times["generate"]
        assert times["prompt"] > 0
        assert times["generate"] > 0
        assert phases <= times["total"] + 1e-6
        assert times["load"] > 0
        assert line["peak_rss_bytes"] > 1 << 20
    assert seen["seconds"]["vision"] > 0
    assert unseen["seconds"]["vision"] == 0
