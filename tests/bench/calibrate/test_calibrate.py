"""The command `calibrate`: what it asks, what it leaves, and what it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from typer.testing import CliRunner

from imp_deploy.bench.calibrate.questions import QUESTIONS, questions
from imp_deploy.bench.evaluate import on_host
from imp_deploy.cli.main import app
from imp_deploy.errors import BadInput
from tests.bench.calibrate.conftest import Small, collect
from tests.pictures import noise
from tests.small import contents, copied, one_sentence, run_export, small_checkpoint


def calibrate(*arguments: object) -> dict[str, Any]:
    """`calibrate ... --json` in this process; errors are raised."""
    argv = ["calibrate", *map(str, arguments), "--threads", "1", "--max-tokens", "4", "--json"]
    done = CliRunner().invoke(app, argv, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture
def bundle(small: Small, tmp_path: Path) -> Path:
    """One of its own for the test."""
    return copied(small.bundle, tmp_path / "bundle")


def test_the_file_lies_in_the_bundle_and_names_no_place(small: Small, bundle: Path) -> None:
    """Files are handed on: a path in them tells whose machine it was."""
    said = calibrate(bundle, "--images", small.images)
    path = bundle / "Imp.imatrix.gguf"
    assert said["file"] == str(path)
    assert said["variant"]["bits"] == 16  # the best that there is, not the default of `run`
    assert (said["pictures"], said["questions"], said["matrices"]) == (3, len(QUESTIONS), 4)
    assert said["visual_tokens"] == 16 * len(QUESTIONS) < said["tokens"]
    fields = GGUFReader(path).fields
    assert fields["general.type"].contents() == "imatrix"
    assert fields["imatrix.datasets"].contents() == ["my pictures"]
    assert str(small.images.parent).encode() not in path.read_bytes()


def test_the_same_again_is_recognised_and_another_is_refused(small: Small, bundle: Path) -> None:
    """An hour's work is neither done twice nor lost by a slip."""
    first = calibrate(bundle, "--images", small.images)
    content = Path(first["file"]).read_bytes()
    again = calibrate(bundle, "--images", small.images)
    assert again == {**first, "kept": True}
    with pytest.raises(BadInput, match="--force") as caught:
        calibrate(bundle, "--images", small.images, "--limit", 1)
    assert one_sentence(str(caught.value))
    assert Path(first["file"]).read_bytes() == content
    forced = calibrate(bundle, "--images", small.images, "--limit", 1, "--force")
    assert (forced["kept"], forced["pictures"]) == (False, 1)
    assert Path(first["file"]).read_bytes() != content


def test_the_same_pictures_give_the_same_bytes(small: Small, tmp_path: Path) -> None:
    for name in "ab":
        collect(small.bundle, small.images, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_picture_that_is_asked_about_twice_counts_twice(small: Small, tmp_path: Path) -> None:
    """Otherwise a folder of few pictures is weighed as if its questions were most of the tokens."""
    prompts = tmp_path / "prompts"
    prompts.write_text("Who?\n")
    once = collect(small.bundle, small.images, tmp_path / "a", prompts=prompts, limit=1)
    prompts.write_text("Who?\nWho?\n")
    twice = collect(small.bundle, small.images, tmp_path / "b", prompts=prompts, limit=1)
    assert (twice.about.rows, twice.visual) == (2 * once.about.rows, 2 * once.visual)


def test_a_file_of_others_is_not_overwritten(small: Small, bundle: Path) -> None:
    llm = next(bundle.glob("*F16.gguf"))
    before = contents(bundle)
    with pytest.raises(BadInput, match="another file"):
        calibrate(bundle, "--images", small.images, "--out", llm)
    assert contents(bundle) == before


def test_a_bundle_with_one_is_still_a_bundle(small: Small, tmp_path: Path) -> None:
    """The file lies where a user keeps what `export` checks and `inspect` shows."""
    checkpoint = small_checkpoint(tmp_path / "checkpoint")
    run_export(checkpoint, tmp_path / "bundle", bits=(4,))
    said = calibrate(tmp_path / "bundle", "--images", small.images)
    assert said["variant"]["bits"] == 4
    again = run_export(checkpoint, tmp_path / "bundle", bits=(4,))
    assert again.written == ()
    assert Path(said["file"]).is_file()
    for path in (tmp_path / "bundle", Path(said["file"])):
        shown = CliRunner().invoke(app, ["inspect", str(path)], catch_exceptions=False)
        assert shown.exit_code == 0


def test_every_picture_and_every_question_is_used(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        noise(8, 8).save(tmp_path / f"{name}.png")
    prompts = tmp_path / "prompts"
    prompts.write_text("One?\n\n  Two?  \n", "utf-8")

    def asked(*arguments: Any) -> list[tuple[str, str]]:
        return [(q.picture.key, q.text) for q in questions(tmp_path, *arguments)]

    assert asked(prompts, None) == [("a.png", "One?"), ("b.png", "Two?"), ("c.png", "One?")]
    assert asked(prompts, 1) == [("a.png", "One?"), ("a.png", "Two?")]
    assert asked(prompts, 2) == [("a.png", "One?"), ("b.png", "Two?")]
    ours = asked(None, None)
    assert [text for _, text in ours] == list(QUESTIONS)
    assert [key for key, _ in ours[:4]] == ["a.png", "b.png", "c.png", "a.png"]
    for number in range(20):
        noise(8, 8).save(tmp_path / f"{number:02}.png")
    assert len(asked(None, None)) == 23
    assert [key for key, _ in asked(prompts, 4)] == ["00.png", "05.png", "11.png", "17.png"]


def test_what_cannot_be_asked_is_refused(
    small: Small, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is computed, in a sentence with the cure."""
    empty, broken = tmp_path / "empty", tmp_path / "broken"
    empty.mkdir()
    broken.mkdir()
    noise(8, 8).save(broken / "a.png")
    (broken / "b.png").write_bytes((broken / "a.png").read_bytes()[:50])
    for name, text in {"blank": "\n \n", "marked": "What is <image>?\n"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    images = ["--images", small.images]
    before = contents(tmp_path)

    def refuse(*_arguments: object) -> None:
        raise AssertionError("something was asked")

    monkeypatch.setattr(on_host, "carry_out", refuse)
    for part, arguments in {
        "does not exist": ["--images", tmp_path / "nowhere"],
        "is a file": ["--images", bundle / "bundle.json"],
        "holds no picture": ["--images", empty],
        "b.png": ["--images", broken],
        "holds no question": [*images, "--prompts", tmp_path / "blank"],
        "holds <image>": [*images, "--prompts", tmp_path / "marked"],
        "give --prompts": [*images, "--prompts", tmp_path / "binary"],
        "absent cannot be read": [*images, "--prompts", tmp_path / "absent"],
        "is a folder": [*images, "--out", tmp_path],
        "is in no folder": [*images, "--out", tmp_path / "nowhere" / "out"],
        "bits 8": [*images, "--bits", 8],
    }.items():
        with pytest.raises(BadInput, match=part) as caught:
            calibrate(bundle, *arguments)
        assert one_sentence(str(caught.value)), caught.value
    assert contents(tmp_path) == before


def test_an_interrupted_call_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    """Neither half a file nor a runner that goes on for an hour."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(200):
        noise(60, 40).save(images / f"{number}.png")
    before = contents(bundle)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    argv = ["calibrate", bundle, "--images", images, "--max-tokens", "200", "--threads", "1"]
    program = subprocess.Popen(
        [sys.executable, "-m", "imp_deploy", *map(str, argv)],
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    while not any(path.stat().st_size for path in scratch.rglob("results.jsonl")):
        assert program.poll() is None
        time.sleep(0.01)
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=60)
    assert program.returncode == 130, said
    assert contents(bundle) == before
    assert list(scratch.iterdir()) == []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            assert str(scratch).encode() not in process.read_bytes()
