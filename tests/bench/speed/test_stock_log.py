"""The times of `llama-mtmd-cli`, from logs recorded of the pinned version, and of the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from imp_deploy import prompt, runner
from imp_deploy.bench.picture import default_picture
from imp_deploy.bench.speed import mtmd_cli, ours, stock_log, text
from imp_deploy.bench.speed.bundles import files_of
from imp_deploy.bundle import load
from imp_deploy.errors import BadInput
from imp_deploy.image import write_ppm

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def test_phases_of_a_recorded_answer() -> None:
    """From the decoded picture to the last piece: without it, loading or the decoding behind the
    last token would count as stock's."""
    found = stock_log.times(recorded("answer.jsonl"), 8)
    assert found is not None
    assert found.vision == pytest.approx(0.041513 - 0.034805)
    assert found.generate == pytest.approx(0.062653 - 0.058143)
    assert found.total == pytest.approx(0.062653 - 0.028784)
    assert found.text == " purple one yellow one yellow one yellow one"


def test_fewer_tokens_end_earlier() -> None:
    found = stock_log.times(recorded("answer.jsonl"), 2)
    assert found is not None
    assert found.generate == pytest.approx(0.058881 - 0.058143)


@pytest.mark.parametrize("lines", range(0, 17, 4))
def test_a_log_without_its_end_is_no_short_answer(lines: int) -> None:
    """The program loses the end of its log now and then: it must not look fast for it."""
    whole = recorded("answer.jsonl").splitlines(keepends=True)
    assert stock_log.times("".join(whole[:lines]), 8) is None
    assert stock_log.times("".join(whole[:-1])[:-10], 8) is None


def test_other_output_among_the_log() -> None:
    noisy = recorded("answer.jsonl").replace("\n", '\nnote: {x}\n[1]\n"text"\n')
    assert stock_log.times(noisy, 8) == stock_log.times(recorded("answer.jsonl"), 8)


def test_counts_of_a_recorded_log() -> None:
    assert stock_log.prompt_tokens(recorded("verbose.jsonl")) == 206
    assert stock_log.threads(recorded("verbose.jsonl")) == 2
    assert stock_log.prompt_tokens(recorded("answer.jsonl")) is None


def words(given: str) -> int:
    return len(given.split())


def test_a_long_prompt_loses_its_start() -> None:
    assert text.exactly("a b c d <image> e f", 5, words).split() == [
        "b",
        "c",
        "d",
        "<image>",
        *"ef",
    ]


def test_a_short_prompt_is_repeated() -> None:
    fitted = text.exactly("a b <image> e", 6, words)
    assert words(fitted.replace("<image>", "")) == 6
    assert fitted.endswith(" a b <image> e")


def test_a_question_that_is_too_long_alone_is_refused() -> None:
    with pytest.raises(BadInput, match="3 text tokens"):
        text.exactly("a <image> b c d e", 3, words)


def test_stock_answers_the_same_prompt_alike(
    demo_bundle: Path, runner_binary: Path, tmp_path: Path
) -> None:
    """Prompt, picture and generated tokens are the same on both sides, or the times of the two
    would be of different work."""
    assert runner_binary.is_file()
    llm, mmproj = files_of(demo_bundle, 196, 16)
    picture = tmp_path / "picture.ppm"
    write_ppm(default_picture(), picture)
    filled = prompt.fill(load(demo_bundle).prompt, "What colour is the circle?")
    asked = text.exactly(filled, 41, text.counter(llm))
    question = mtmd_cli.Question(llm=llm, mmproj=mmproj, picture=picture, prompt=asked, tokens=24)
    assert mtmd_cli.look(question)[0] == 41 + 196
    theirs = mtmd_cli.ask(question)
    assert min(theirs.vision, theirs.prompt, theirs.generate) > 0
    # Stock never says the end token, and we go on behind it: until there the two are the same.
    steps = tuple(
        runner.Step(
            id=str(goes_on),
            prompt=asked,
            max_tokens=24,
            image=picture,
            side=196,
            ignore_eog=goes_on,
        )
        for goes_on in (True, False)
    )
    job = runner.Job(model=llm, mmproj=mmproj, stop=(), steps=steps, threads=1)
    whole, ended = ours.answers(job, "stock")
    assert (whole.tokens.text, whole.tokens.visual, whole.tokens.generated) == (41, 196, 24)
    assert ended.text.strip()
    assert theirs.text.startswith(ended.text)
