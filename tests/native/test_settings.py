"""Settings of a job that are to change its times and nothing else, and what is reported of them."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from imp_deploy import runner as reader
from imp_deploy.runner import RunSettings
from tests.native.jobs import PROMPT, Line, Runner, Value, render
from tests.native.test_reuse import draw, prompt, same_answer

OTHER_TEXT = PROMPT.replace("USER:", "SOMEBODY ELSE:")


@pytest.fixture
def red(runner: Runner) -> Path:
    return draw(runner.folder / "red.png", "red")


@pytest.fixture
def blue(runner: Runner) -> Path:
    return draw(runner.folder / "blue.png", "blue")


def asked(
    runner: Runner, steps: list[dict[str, Value]], **settings: Value
) -> tuple[list[Line], list[bytes]]:
    """The answers, and the logits behind each of their tokens."""
    named = [{**s, "logits": runner.folder / f"{s['id']}.logits"} for s in steps]
    lines = runner.run(named, runner.job(**settings))
    return lines, [Path(str(s["logits"])).read_bytes() for s in named]


def test_the_text_before_an_image_is_read_once_and_changes_no_bit(
    runner: Runner, red: Path, blue: Path
) -> None:
    """Otherwise an answer would depend on the pictures that were asked about before it."""
    steps = [
        runner.step("first", red),
        runner.step("another picture", blue),
        runner.step("another question", red, prompt=prompt("How many objects are there?")),
        runner.step("the same picture again", red),
        runner.step("other text before", blue, prompt=OTHER_TEXT),
        runner.step("the text as at first", blue),
    ]
    apart, apart_logits = asked(runner, steps)
    kept, kept_logits = asked(runner, steps, keep_text=1)
    assert kept_logits == apart_logits
    assert all(same_answer(one, other) for one, other in zip(apart, kept, strict=True))
    assert all(line["seconds"]["vision"] > 0 for line in kept)
    assert [line["kept_tokens"] for line in apart] == [0] * 6
    counts = [line["kept_tokens"] for line in kept]
    before = counts[1]
    assert 0 < before < kept[1]["tokens"]["text"]
    assert counts == [0, before, before, before, 0, 0]


def test_what_stands_between_two_pictures_leaves_nothing_behind(
    runner: Runner, red: Path, blue: Path
) -> None:
    """A prompt without an image, a failure, a prompt that is only an image and another mode."""
    steps = [
        runner.step("1", red),
        {"id": "2", "prompt": "How many circles are there? ASSISTANT:", "max_tokens": 8},
        runner.step("3", blue),
        runner.step("4", blue, prompt="<image>"),
        runner.step("5", red),
        runner.step("6", red, mode="pad"),
        runner.step("7", blue, prompt=PROMPT.split("\n")[0]),
    ]
    apart, apart_logits = asked(runner, steps)
    kept, kept_logits = asked(runner, steps, keep_text=1)
    assert kept_logits == apart_logits
    assert [line["kept_tokens"] > 0 for line in kept] == [False] * 5 + [True, True]
    broken = runner.step("failed", red, prompt="no place for the image")
    lines = runner.run([steps[0], broken, steps[2]], runner.job(keep_text=1))
    assert [line["status"] for line in lines] == ["ok", "error", "ok"]
    assert lines[2]["kept_tokens"] == 0
    assert same_answer(lines[2], apart[2])


def test_kept_text_and_kept_image_go_together(runner: Runner, red: Path, blue: Path) -> None:
    """As an evaluation asks: several questions about each picture, all behind the same text."""
    steps = [
        runner.step(f"{place}-{number}", image, prompt=prompt(question))
        for place, image in enumerate((red, blue))
        for number, question in enumerate(("What is it?", "How many objects are there?"))
    ]
    _, apart_logits = asked(runner, steps)
    both, both_logits = asked(runner, steps, keep_text=1, reuse=1)
    assert both_logits == apart_logits
    visual = both[0]["tokens"]["visual"]
    before = both[2]["kept_tokens"]
    assert [line["kept_tokens"] for line in both] == [0, before + visual, before, before + visual]


@pytest.mark.parametrize("text_tokens", [None, 3, 41, 700])
def test_a_warm_up_leaves_the_text_of_the_first_step(
    runner: Runner, red: Path, text_tokens: int | None
) -> None:
    """Also where the text is cut or repeated to have a length, and longer than one pass."""
    fitted = {} if text_tokens is None else {"text_tokens": text_tokens}
    steps = [runner.step("1", red, **fitted)]
    _, apart = asked(runner, steps, warmup=1)
    [line], kept = asked(runner, steps, warmup=1, keep_text=1)
    assert kept == apart
    assert line["tokens"]["text"] == (text_tokens or line["tokens"]["text"])
    assert (line["kept_tokens"] > 0) == (text_tokens != 3)


def test_a_first_step_that_cannot_be_done_says_so_itself(runner: Runner, red: Path) -> None:
    steps = [
        runner.step("1", red, prompt="no place for the image"),
        runner.step("2", red),
    ]
    lines = runner.run(steps, runner.job(warmup=1, keep_text=1))
    assert [line["status"] for line in lines] == ["error", "ok"]


def test_what_was_used_in_fact_is_reported(runner: Runner, red: Path) -> None:
    """Otherwise a setting that the system refused would be praised for what it did not do."""
    most = len(os.sched_getaffinity(0))
    wanted = {"threads": most, "threads_vision": 1, "threads_generate": 512, "ubatch": 64}
    [line] = runner.run([runner.step("1", red)], runner.job(**wanted))
    found = reader.answer(line).settings
    assert (found.threads_vision, found.threads_prompt, found.threads_generate) == (1, most, most)
    assert found.ubatch == 64
    assert (found.flash_attention, found.flash_attention_vision) == ("on", "on")  # its own choice
    off = {"flash_attention": "off", "flash_attention_vision": "off", "cache_type": "f32"}
    [line] = runner.run([runner.step("1", red)], runner.job(**off))
    assert {key: line["settings"][key] for key in off} == off


def test_flash_attention_of_the_tower_is_its_own_setting(runner: Runner, red: Path) -> None:
    steps = [runner.step("1", red, embeddings=runner.folder / "e")]
    _, [plain] = asked(runner, steps)
    embeddings = (runner.folder / "e").read_bytes()
    [line], [llm] = asked(runner, steps, flash_attention="off")
    assert (runner.folder / "e").read_bytes() == embeddings
    assert line["settings"]["flash_attention_vision"] == "on"
    [line], _ = asked(runner, steps, flash_attention_vision="off")
    assert (runner.folder / "e").read_bytes() != embeddings
    assert line["settings"]["flash_attention"] == "on"
    assert llm != plain


def test_a_quantized_cache_gives_other_logits_or_a_reason(runner: Runner, red: Path) -> None:
    """llama.cpp takes q8_0 only for heads of a multiple of 32 values."""
    step = runner.step("1", red, logits=runner.folder / "logits")
    out = runner.folder / "quantized.jsonl"
    process = runner.start(render(runner.job(cache_type="q8_0"), [step]), out)
    _, said = process.communicate(timeout=60)
    if process.returncode == 0:
        quantized = (runner.folder / "logits").read_bytes()
        runner.run([step])
        assert (runner.folder / "logits").read_bytes() != quantized
    else:
        assert process.returncode == 3
        assert "n_embd_head_k" in said


def test_the_job_that_the_host_writes_has_the_settings(runner: Runner, red: Path) -> None:
    keys = dict(runner.job())
    settings = RunSettings(
        threads_vision=1,
        threads_prompt=1,
        threads_generate=1,
        ubatch=32,
        flash_attention="on",
        flash_attention_vision="off",
        cache_type="f32",
    )
    job = reader.Job(
        model=Path(str(keys["model"])),
        mmproj=Path(str(keys["mmproj"])),
        stop=(),
        steps=(
            reader.Step(id="1", prompt=PROMPT, max_tokens=3, image=red, side=runner.side),
            reader.Step(id="2", prompt=PROMPT, max_tokens=3, image=red, side=runner.side),
        ),
        settings=settings,
        keep_text=True,
    )
    first, second = reader.run_job(runner.binary, job, runner.folder)
    assert first.settings == settings
    assert (first.kept_tokens, second.kept_tokens > 0) == (0, True)
    plain = reader.job_text(replace(job, settings=RunSettings(), keep_text=False))
    assert not [key for key in asdict(settings) if key in plain]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("threads_vision 513", "`threads_vision` is `513`, which is not a whole number from 0"),
        ("threads_prompt -1", "`threads_prompt` is `-1`"),
        ("threads_generate two", "`threads_generate` is `two`"),
        ("flash_attention yes", "`flash_attention` is `yes`, which is none of `auto`, `on`, `off`"),
        ("flash_attention_vision", "`flash_attention_vision` is ``"),
        ("cache_type q4_0", "`cache_type` is `q4_0`, which is none of `f16`, `q8_0`, `f32`"),
        ("keep_text 2", "`keep_text` is `2`"),
        ("threads_vision 1\nthreads_vision 1", "`threads_vision` is given twice"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_line(
    runner: Runner, red: Path, line: str, said: str
) -> None:
    text = render(runner.job(), [runner.step("1", red)]).replace("step\n", f"{line}\nstep\n", 1)
    number = text.split("\n").index("step")
    message = runner.fail(text)
    assert f"job.txt, line {number}: " in message
    assert said in message


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"cache_type": "q8_0", "flash_attention": "off"}, "needs flash attention"),
        ({"keep_text": 1, "imatrix": "sums"}, "`keep_text` and `imatrix`"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    runner: Runner, red: Path, keys: dict[str, Value], said: str
) -> None:
    assert said in runner.fail(render(runner.job(**keys), [runner.step("1", red)]))
