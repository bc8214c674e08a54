"""Evaluations: questions that share an image, answers that are given, and images that come late."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.native.jobs import PROMPT, Line, Runner, render

QUESTIONS = ("What is it?", "How many objects are there?", "What colour is the circle?")


def draw(path: Path, colour: str) -> Path:
    picture = Image.new("RGB", (160, 120), "white")
    picture.paste(colour, (20, 30, 60, 70))
    picture.save(path)
    return path


@pytest.fixture
def pictures(runner: Runner) -> tuple[Path, Path]:
    return draw(runner.folder / "red.png", "red"), draw(runner.folder / "blue.png", "blue")


def prompt(question: str) -> str:
    return PROMPT.replace("What is in the picture?", question)


def same_answer(one: Line, other: Line) -> bool:
    return all(one[key] == other[key] for key in ("text", "token_ids", "stop", "tokens"))


def test_a_shared_image_is_encoded_once_and_changes_no_bit(
    runner: Runner, pictures: tuple[Path, Path]
) -> None:
    """Otherwise an evaluation's answers would depend on the order of its questions."""
    red, blue = pictures
    steps = [
        runner.step(
            f"{image.stem}-{number}",
            image,
            prompt=prompt(question),
            logits=runner.folder / f"{image.stem}-{number}.logits",
        )
        for image in (red, blue, red)
        for number, question in enumerate(QUESTIONS)
    ]
    steps = [{**s, "id": f"{n}-{s['id']}"} for n, s in enumerate(steps)]

    def asked(name: str, **settings: int) -> tuple[list[Line], list[bytes]]:
        named = [{**s, "logits": runner.folder / f"{s['id']}.{name}"} for s in steps]
        lines = runner.run(named, runner.job(**settings))
        return lines, [Path(str(s["logits"])).read_bytes() for s in named]

    apart, apart_logits = asked("apart")
    shared, shared_logits = asked("shared", reuse=1)
    assert all(same_answer(one, other) for one, other in zip(apart, shared, strict=True))
    assert apart_logits == shared_logits
    assert [line["seconds"]["vision"] > 0 for line in shared] == [True, False, False] * 3
    assert all(line["seconds"]["vision"] > 0 for line in apart)
    later = [line["seconds"]["prompt"] for n, line in enumerate(shared) if n % 3]
    first = [line["seconds"]["prompt"] for n, line in enumerate(shared) if n % 3 == 0]
    assert max(later) < min(first)


def test_another_text_before_the_image_is_read_anew(
    runner: Runner, pictures: tuple[Path, Path]
) -> None:
    red, _ = pictures
    other = PROMPT.replace("USER:", "SOMEBODY ELSE:")
    steps = [runner.step(str(n), red, prompt=text) for n, text in enumerate((PROMPT, other))]
    assert all(
        same_answer(one, two)
        for one, two in zip(runner.run(steps), runner.run(steps, runner.job(reuse=1)), strict=True)
    )


def test_another_mode_and_an_error_between_leave_nothing_behind(
    runner: Runner, pictures: tuple[Path, Path]
) -> None:
    red, _ = pictures
    steps = [
        runner.step("1", red),
        runner.step("2", red, mode="pad"),
        runner.step("3", red, prompt="no place for the image"),
        runner.step("4", red, mode="pad"),
        runner.step("5", red, embeddings=runner.folder / "e", pixels=runner.folder / "p"),
    ]
    apart, shared = runner.run(steps), runner.run(steps, runner.job(reuse=1))
    assert [line["status"] for line in shared] == ["ok", "ok", "error", "ok", "ok"]
    for one, two in zip(apart, shared, strict=True):
        assert one["status"] == "error" or same_answer(one, two)
    assert (runner.folder / "p").stat().st_size == runner.side**2 * 3


def test_its_own_answer_forced_on_a_model_gives_the_very_same_logits(
    runner: Runner, pictures: tuple[Path, Path]
) -> None:
    """So that a file compared with itself has a divergence of exactly zero."""
    red, _ = pictures
    free = runner.folder / "free"
    [line] = runner.run([runner.step("1", red, logits=free)])
    chosen = np.frombuffer(free.read_bytes(), "<f4").reshape(
        line["tokens"]["generated"] + (line["stop"] == "eog"), -1
    )
    tokens = chosen.argmax(axis=1).tolist()
    forced = runner.folder / "forced"
    step = runner.step("1", red, logits=forced, max_tokens=len(tokens))
    [again] = runner.run([{**step, "force": " ".join(map(str, tokens))}])
    assert forced.read_bytes() == free.read_bytes()
    assert again["token_ids"] == tokens
    assert again["stop"] == "length"


def test_forced_tokens_need_not_be_likely_and_end_at_nothing(
    runner: Runner, pictures: tuple[Path, Path]
) -> None:
    red, _ = pictures
    logits = runner.folder / "logits"
    step = runner.step("1", red, logits=logits, max_tokens=4)
    [line] = runner.run([{**step, "force": "7 7 0 7"}])
    assert line["token_ids"] == [7, 7, 0, 7]
    rows = np.frombuffer(logits.read_bytes(), "<f4").reshape(4, -1)
    assert (rows[0] != rows[1]).any()


@pytest.mark.parametrize(
    ("force", "said"),
    [("1 2 3", "its max_tokens is 8"), ("1  2", "row of whole numbers"), ("", "row of whole")],
)
def test_a_wrong_row_of_tokens_is_refused(
    runner: Runner, pictures: tuple[Path, Path], force: str, said: str
) -> None:
    step = {**runner.step("1", pictures[0]), "force": force}
    assert said in runner.fail(render(runner.job(), [step]))


def test_a_token_beyond_the_vocabulary_is_named(
    runner: Runner, pictures: tuple[Path, Path]
) -> None:
    step = runner.step("1", pictures[0], max_tokens=1)
    [line] = runner.run([{**step, "force": "999999"}])
    assert line["status"] == "error"
    assert "999999" in line["message"]


def test_an_image_that_comes_late_is_waited_for(
    runner: Runner, pictures: tuple[Path, Path]
) -> None:
    red, blue = pictures
    late = runner.folder / "late.png"
    steps = [runner.step("1", red), runner.step("2", late)]

    def bring() -> None:
        time.sleep(1)
        shutil.copy(blue, runner.folder / "beside")
        (runner.folder / "beside").rename(late)

    thread = threading.Thread(target=bring)
    thread.start()
    lines = runner.run(steps, runner.job(wait=60))
    thread.join()
    assert [line["status"] for line in lines] == ["ok", "ok"]


def test_an_image_that_never_comes_ends_the_run_and_keeps_the_answers(
    runner: Runner, pictures: tuple[Path, Path]
) -> None:
    steps = [runner.step("1", pictures[0]), runner.step("2", runner.folder / "never.png")]
    out = runner.folder / "results.jsonl"
    said = runner.fail(render(runner.job(wait=1), steps), out)
    assert "nobody brought the image" in said
    assert out.read_text().count('"status": "ok"') == 1
