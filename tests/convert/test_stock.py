"""Every file works alone in stock llama.cpp: its own program, our files, none of our code."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from imp_deploy import prompt, runner
from imp_deploy.bundle import Variant, choose, load
from imp_deploy.convert.export import export
from imp_deploy.convert.plan import Options
from imp_deploy.demo import scenes
from imp_deploy.image import load_rgb, write_ppm
from tests.checkpoints import make_checkpoint, make_lora, make_plain
from tests.pictures import write_all
from tests.quiet import Quiet

QUESTION = "What is in the picture?"


@pytest.fixture(scope="module", params=["phi2", "qwen2", "phi3", "lora"])
def square_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random `square` checkpoint of each family, exported; and a LoRA adapter on one. The towers
    of the other families are those that stock llama.cpp computes wrongly: see
    tests/native/test_clip.py."""
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint, base = folder / "checkpoint", None
    if request.param == "lora":
        base = make_plain(folder / "base", "phi2", "hub")
        make_lora(checkpoint, base, family="phi2", naming="hub", tower="inside")
    else:
        naming = "hub" if request.param == "phi2" else "train"
        make_checkpoint(checkpoint, family=request.param, naming=naming)  # type: ignore[arg-type]
    export(checkpoint, folder / "bundle", Options(bits=(16,)), base=base, progress=Quiet())
    return folder / "bundle"


def stock_answers(
    cli: Path, folder: Path, variant: Variant, image: Path, question: str, *flags: str
) -> set[str]:
    """What `llama-mtmd-cli` prints, greedy, 12 tokens, in up to five runs: it prints through an
    asynchronous log, which on a busy machine loses the end of an answer when the program exits."""
    argv = [
        *(str(cli), "-m", str(folder / variant.llm.path)),
        *("--mmproj", str(folder / variant.vision.path), "--image", str(image)),
        *("-p", question, "--temp", "0", "-n", "12", "-t", "1", *flags),
    ]
    texts = set()
    for _ in range(5):
        done = subprocess.run(argv, capture_output=True, check=True)
        texts.add(done.stdout.decode("utf-8", "replace").strip())
    return texts


def our_answer(
    binary: Path, folder: Path, variant: Variant, image: Path, question: str, scratch: Path
) -> runner.Answer:
    bundle = load(folder)
    write_ppm(load_rgb(image), scratch / "image.ppm")
    step = runner.Step(
        id="0",
        prompt=prompt.fill(bundle.prompt, question),
        max_tokens=12,
        image=scratch / "image.ppm",
        side=variant.vision.resolution or 0,
        mode=bundle.preprocess.mode,
    )
    job = runner.Job(
        model=folder / variant.llm.path,
        mmproj=folder / variant.vision.path,
        stop=bundle.prompt.stop,
        steps=(step,),
        threads=1,
    )
    return runner.run_job(binary, job, scratch)[0]


@pytest.mark.parametrize("kind", ["landscape", "portrait", "tiny"])
def test_stock_llama_cpp_generates_the_same_tokens(
    square_bundle: Path, stock_cli: Path, runner_binary: Path, tmp_path: Path, kind: str
) -> None:
    """An app that uses llama.cpp itself must get the same answer from the same two files. This
    also guards the empty pinpoint list, by which stock llama.cpp squashes pictures."""
    image = write_all(tmp_path)[kind]
    variant = choose(load(square_bundle), bits=16, resolution=196)
    ours = our_answer(runner_binary, square_bundle, variant, image, QUESTION, tmp_path)
    theirs = stock_answers(stock_cli, square_bundle, variant, image, QUESTION, "--jinja")
    assert ours.tokens.generated == 12
    assert ours.text.strip() in theirs
    assert all(ours.text.strip().startswith(text) for text in theirs)


def test_without_jinja_stock_llama_cpp_still_starts(
    square_bundle: Path, stock_cli: Path, tmp_path: Path
) -> None:
    """Without `--jinja`, `llama-mtmd-cli` ignores the file's template and refuses to start unless
    it recognises one of its own in it."""
    image = write_all(tmp_path)["landscape"]
    variant = choose(load(square_bundle), bits=16, resolution=196)
    assert any(stock_answers(stock_cli, square_bundle, variant, image, QUESTION))


def test_stock_llama_cpp_answers_the_demo_questions(
    demo_bundle: Path, stock_cli: Path, tmp_path: Path
) -> None:
    """The demo model's files, at 4 bits, in stock llama.cpp: right answers, and it stops."""
    variant = choose(load(demo_bundle), bits=4, resolution=196)
    right = 0
    for index, question in scenes.held_out(8):
        image = tmp_path / f"{index}.png"
        scenes.draw(scenes.scene_at("test", index)).save(image)
        answers = stock_answers(stock_cli, demo_bundle, variant, image, question.text, "--jinja")
        right += question.answer in answers and answers <= {"", question.answer}
    assert right >= 6
