"""The demo model has learned its task: everything that needs sensible answers stands on it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from imp_deploy import prompt, runner
from imp_deploy.bundle import choose, load
from imp_deploy.demo import scenes
from imp_deploy.demo.write import write_demo
from imp_deploy.errors import BadInput
from imp_deploy.image import squash, write_ppm

QUESTIONS = 500


@pytest.mark.parametrize("resolution", [196, 384])
def test_nine_of_ten_held_out_questions_are_right(
    resolution: int, demo_bundle: Path, runner_binary: Path, tmp_path: Path
) -> None:
    """At 384 pixels and, with the interpolated position table, at 196; at 16 bits in llama.cpp."""
    bundle = load(demo_bundle)
    variant = choose(bundle, bits=16, resolution=resolution)
    asked = scenes.held_out(QUESTIONS)
    steps = []
    for index, question in asked:
        image = tmp_path / f"{index}.ppm"
        # Squashed here, exactly as the runner would: fewer bytes to read 500 times.
        write_ppm(squash(scenes.draw(scenes.scene_at("test", index)), resolution), image)
        step = runner.Step(
            id=str(index),
            prompt=prompt.fill(bundle.prompt, question.text),
            max_tokens=8,
            image=image,
            side=resolution,
        )
        steps.append(step)
    job = runner.Job(
        model=demo_bundle / variant.llm.path,
        mmproj=demo_bundle / variant.vision.path,
        stop=bundle.prompt.stop,
        steps=tuple(steps),
    )
    answers = runner.run_job(runner_binary, job, tmp_path)
    right = Counter(
        question.kind
        for (_, question), answer in zip(asked, answers, strict=True)
        if answer.text.strip() == question.answer
    )
    print(resolution, dict(right))
    assert sum(right.values()) >= 0.9 * QUESTIONS


def test_held_out_questions_are_balanced_and_repeatable() -> None:
    """A test that always asks "How many circles?" says nothing; one that changes, neither."""
    asked = scenes.held_out(200)
    assert asked == scenes.held_out(200)
    assert Counter(q.kind for _, q in asked) == dict.fromkeys(scenes.KINDS, 50)
    for kind in scenes.KINDS:
        answers = Counter(q.answer for _, q in asked if q.kind == kind)
        assert max(answers.values()) <= 30


def test_answers_describe_the_drawn_scene() -> None:
    """The right answer comes from the same scene as the picture, or accuracy means nothing."""
    scene = scenes.scene_at("test", 3)
    image = scenes.draw(scene)
    for item in scene.items:
        left, top, right, bottom = item.box
        middle = (
            int((left + right) / 2 * image.width),
            int((top + 0.6 * (bottom - top)) * image.height),
        )
        assert image.getpixel(middle) == scenes.COLOURS[item.colour]


def test_demo_does_not_overwrite_another_checkpoint(tmp_path: Path) -> None:
    """`imp-deploy demo .` in the wrong folder must not destroy a model."""
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"config\.json"):
        write_demo(tmp_path, force=False)
    assert (tmp_path / "config.json").read_text() == "{}"
    write_demo(tmp_path, force=True)
    assert write_demo(tmp_path, force=False).examples


def test_the_demo_weights_are_small() -> None:
    """They are in the repository and in the wheel."""
    from importlib.resources import files

    folder = files("imp_deploy.demo").joinpath("checkpoint")
    assert sum(len(p.read_bytes()) for p in folder.iterdir()) <= 12_000_000
