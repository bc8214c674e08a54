"""What an evaluation on this machine keeps, goes on with, and refuses."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from imp_deploy import evaluation as evaluations
from imp_deploy import runner
from imp_deploy.bench.evaluate import on_host
from imp_deploy.bench.evaluate.pictures import in_order
from imp_deploy.bench.evaluate.rescore import rescore
from imp_deploy.bench.evaluate.selection import Selection, select
from imp_deploy.bench.tasks import demo, folder
from imp_deploy.bench.tasks.task import FilePicture, Question, Task
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.evaluation import answers_path
from tests.bench.evaluate.conftest import Evaluator
from tests.small import SIDE, run_export, small_checkpoint


class Stop(Exception):
    pass


def test_every_answer_is_kept_and_the_score_follows(here: Evaluator, few: Selection) -> None:
    done = here(few)
    answers = here.answers()
    assert set(answers) == {question.id for question in few.questions}
    for question in few.questions:
        one = answers[question.id]
        assert one.question == question.text
        assert one.token_ids
        assert one.seconds.vision > 0
        assert done.marks[question.id] == float(one.text.strip() == question.truth)
    assert done.score is not None
    assert done.score.value == pytest.approx(100 * sum(done.marks.values()) / 12)
    assert done.score.value > 70  # the checkpoint has learned this
    assert done.complete
    assert evaluations.load(here.path) == done
    assert done.seconds == pytest.approx(
        sum(a.seconds.vision + a.seconds.prompt + a.seconds.generate for a in answers.values())
    )


def test_the_answers_are_those_of_run(here: Evaluator, few: Selection, demo_bundle: Path) -> None:
    """The evaluation asks what a user would ask."""
    here(few)
    question = few.questions[0]
    image = here.out / "image.png"
    question.picture.load().save(image)
    argv = ["run", str(demo_bundle), "--image", str(image), "--prompt", question.text, "--json"]
    said = subprocess.run(
        [sys.executable, "-m", "imp_deploy", *argv], capture_output=True, check=True, text=True
    )
    assert json.loads(said.stdout)["token_ids"] == list(here.answers()[question.id].token_ids)


def test_a_second_call_asks_nothing(
    here: Evaluator, few: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = here(few)
    content = answers_path(here.path).read_bytes()

    def refuse(*_arguments: object) -> None:
        raise AssertionError("it was asked again")

    monkeypatch.setattr(on_host, "ask", refuse)
    assert here(few) == first
    assert answers_path(here.path).read_bytes() == content


def test_an_interrupted_evaluation_goes_on(here: Evaluator, few: Selection) -> None:
    def stop(count: int) -> None:
        if count > 0:
            raise Stop

    here.on_answers = stop
    with pytest.raises(Stop):
        here(few)
    (path,) = (p for p in here.out.glob("*.json"))
    half = answers_path(path).read_bytes()
    kept = evaluations.load(path)
    assert (kept.complete, kept.score, kept.marks) == (False, None, {})
    assert 0 < half.count(b"\n") <= len(few.questions)
    answers_path(path).write_bytes(half + b'{"id": "half a li')  # as a kill leaves it
    here.on_answers = lambda _count: None
    assert here(few).complete
    assert answers_path(path).read_bytes().startswith(half)
    assert len(here.answers()) == len(few.questions)


def test_a_killed_program_loses_nothing_that_it_said(demo_bundle: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "imp_deploy", "eval", str(demo_bundle), "--task", "demo"]
    argv += ["--limit", "200", "--resolution", "384", "--out", str(tmp_path), "--threads", "1"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            lines = [p.read_bytes().count(b"\n") for p in tmp_path.glob("*.jsonl")]
            if lines and lines[0] > 3:
                break
            time.sleep(0.02)
        program.send_signal(signal.SIGKILL)
    (path,) = tmp_path.glob("*.jsonl")
    before = path.read_bytes()
    assert 3 < before.count(b"\n") < 200
    subprocess.run(argv, check=True, capture_output=True)
    assert path.read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    assert path.read_bytes().count(b"\n") == 200


def test_the_resolution_is_the_bundles_own(tmp_path: Path) -> None:
    """MobileVLM and LLaVA have no 196 pixels: as for `run`, the nearest that there is."""
    checkpoint = small_checkpoint(tmp_path / "checkpoint")
    run_export(checkpoint, tmp_path / "bundle", bits=(4,), resolutions=(SIDE,))
    argv = [sys.executable, "-m", "imp_deploy", "eval", str(tmp_path / "bundle"), "--task", "demo"]
    argv += ["--limit", "4", "--out", str(tmp_path), "--threads", "1", "--json"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    (found,) = json.loads(done.stdout)["evaluations"]
    assert found["variant"]["resolution"] == SIDE


def test_another_bundles_answers_are_refused(here: Evaluator, few: Selection) -> None:
    here(few, bits=4)
    path = here.path
    here(few, bits=8)
    here.path.unlink()
    answers_path(here.path).unlink()
    other = path.read_text()
    here.path.write_text(other)
    answers_path(here.path).write_bytes(answers_path(path).read_bytes())
    with pytest.raises(BadInput, match="another evaluation"):
        here(few, bits=8)
    assert here.path.read_text() == other
    assert here(few, bits=8, force=True).variant.bits == 8


def test_answers_of_another_variant_are_no_score_of_this_one(
    here: Evaluator, few: Selection
) -> None:
    here(few, bits=8)
    others = answers_path(here.path).read_bytes()
    done = here(few, bits=4)
    answers_path(here.path).write_bytes(others)
    with pytest.raises(BadInput, match="an answer of another evaluation"):
        rescore(here.path, None)
    assert evaluations.load(here.path) == done


def test_a_picture_that_was_changed_is_another_question(here: Evaluator, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "prompts.txt").write_text("What colour is it?\n")
    Image.new("RGB", (60, 40), "red").save(pictures / "a.png")
    here(select(folder.TASK, pictures), max_tokens=3)
    Image.new("RGB", (60, 40), "blue").save(pictures / "a.png")
    with pytest.raises(BadInput, match="another evaluation"):
        here(select(folder.TASK, pictures), max_tokens=3)


def test_answers_without_their_record_are_refused(here: Evaluator, few: Selection) -> None:
    here(few)
    here.path.unlink()
    with pytest.raises(BadInput, match="says whose they are"):
        here(few)
    here.path.mkdir()
    with pytest.raises(BadInput, match="cannot be read"):
        here(few)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines, lines[0]], "a second time"),
        (lambda lines: [lines[0].replace("scene-", "seen-"), *lines[1:]], "was not asked"),
        (lambda lines: [lines[0].replace('?"', '!"'), *lines[1:]], "another question"),
        (lambda lines: ["{}", *lines], "lacks"),
        (lambda lines: ["no json", *lines], "no JSON"),
    ],
)
def test_answers_that_somebody_changed_are_refused(
    here: Evaluator, few: Selection, change: object, said: str
) -> None:
    """Never a score over what happened to be there."""
    done = here(few)
    answers = answers_path(here.path)
    lines = change(answers.read_text().splitlines())  # type: ignore[operator]
    answers.write_text("\n".join(lines) + "\n")
    with pytest.raises(BadInput, match=said):
        here(few)
    with pytest.raises(BadInput, match=said):
        rescore(here.path, None)
    assert evaluations.load(here.path) == done


def test_a_score_is_made_again_without_the_model(here: Evaluator, few: Selection) -> None:
    done = here(few)
    assert rescore(here.path, None) == done
    answers = answers_path(here.path)
    right = {id for id, mark in done.marks.items() if mark == 1}
    lines = sorted(answers.read_text().splitlines(), key=lambda x: json.loads(x)["id"] not in right)
    first = json.loads(lines[0])
    first["text"] = "nonsense"
    answers.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    again = rescore(here.path, None)
    assert again.marks[first["id"]] == 0
    assert again.score is not None
    assert done.score is not None
    assert again.score.value < done.score.value
    answers.write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(BadInput, match="11 of 12 answers"):
        rescore(here.path, None)
    assert evaluations.load(here.path) == again


def test_questions_about_one_picture_share_its_encoding(here: Evaluator, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for colour in ("red", "blue"):
        Image.new("RGB", (60, 40), colour).save(pictures / f"{colour}.png")
    (pictures / "prompts.txt").write_text("What colour is it?\nHow many?\nWhat shape is it?\n")
    done = here(select(folder.TASK, pictures), max_tokens=3)
    assert done.complete
    assert done.score is None
    assert done.submission is None
    assert done.marks == {}
    encoded = [one.seconds.vision > 0 for one in here.answers().values()]
    assert len(encoded) == 6
    assert sum(encoded) == 2


def test_a_picture_that_cannot_be_read_is_named_and_keeps_the_others(
    here: Evaluator, few: Selection, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    questions = list(few.questions)
    questions[8] = dataclasses.replace(questions[8], picture=FilePicture("broken.png", broken))
    selection = dataclasses.replace(few, questions=tuple(questions))
    with pytest.raises(BadInput, match=r"broken\.png"):
        here(selection)
    (path,) = here.out.glob("*.json")
    assert not evaluations.load(path).complete


def test_a_question_too_long_for_the_model_is_named(here: Evaluator, few: Selection) -> None:
    long = dataclasses.replace(few.questions[1], text="word " * 5000)
    selection = dataclasses.replace(few, questions=(few.questions[0], long))
    with pytest.raises(BadInput, match=rf"{long.id} cannot be answered.*positions"):
        here(selection)


def test_a_runner_that_dies_says_how_far_it_came(
    here: Evaluator, few: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = runner.job_text

    def damaged(job: runner.Job) -> str:
        return text(dataclasses.replace(job, model=Path("/nowhere.gguf")))

    monkeypatch.setattr(runner, "job_text", damaged)
    with pytest.raises(DeviceError, match=r"nowhere\.gguf"):
        here(few)


def test_a_benchmark_that_is_scored_elsewhere_gets_its_file_and_no_score(
    here: Evaluator, few: Selection
) -> None:
    def submission(given: object) -> tuple[str, bytes]:
        return "upload.json", json.dumps(
            [[question.id, answer] for question, answer in given]  # type: ignore[attr-defined]
        ).encode()

    task: Task = dataclasses.replace(demo.TASK, mark=None, submission=submission)
    whole = dataclasses.replace(few.record, questions=12, seed=None)
    done = here(dataclasses.replace(few, task=task, record=whole))
    assert done.score is None
    assert done.submission is not None
    rows = json.loads((here.out / done.submission).read_text())
    assert [row[0] for row in rows] == [question.id for question in few.questions]
    assert all(row[1] and row[1] == row[1].strip() for row in rows)
    sampled = here(dataclasses.replace(few, task=task), force=True)
    assert sampled.submission is None  # a server refuses a part of its questions


def test_two_programs_do_not_write_the_same_answers(here: Evaluator, few: Selection) -> None:
    def second(count: int) -> None:
        if count > 0:
            other = Evaluator(bundle=here.bundle, out=here.out)
            with pytest.raises(BadInput, match="Another imp-deploy evaluates"):
                other(few)
            here.on_answers = lambda _count: None

    here.on_answers = second
    assert here(few).complete


def test_questions_keep_their_order_but_for_shared_pictures(few: Selection) -> None:
    a, b = few.questions[:2]
    again = Question("again", "How many objects are there?", a.picture, "one")
    asked = in_order([a, b, again])
    assert [(one.question.id, one.picture) for one in asked] == [
        (a.id, 0),
        ("again", 0),
        (b.id, 1),
    ]
