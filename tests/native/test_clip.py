"""CLIP towers: the class token, which the pinned libmtmd misplaces, and the projectors of LLaVA-1.5
and MobileVLM, against PyTorch."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from PIL import Image

from tests.native.clip import COLOUR, PROJECTORS, Clip, make_clip, worst_cosine, write_mmproj
from tests.native.jobs import Runner, Value, render
from tests.native.pixels import by_pillow
from tests.native.stock import stock_embeddings
from tests.pictures import noise

SHAPES = ((500, 333), (211, 487), (64, 64), (5, 3))
WIDTH = 256  # of the demo's language model
SIDES = {"mlp": 56, "ldp": 336, "ldpv2": 336}  # libmtmd's LDP knows 24 x 24 patches only
F16, Q8, Q4 = (GGMLQuantizationType[name] for name in ("F16", "Q8_0", "Q4_0"))


@functools.cache
def clip_of(kind: str) -> Clip:
    return make_clip(kind, WIDTH, side=SIDES[kind])


@functools.cache
def pictures() -> tuple[Image.Image, ...]:
    return tuple(noise(*shape, seed) for seed, shape in enumerate(SHAPES))


@functools.cache
def by_pytorch(kind: str) -> tuple[np.ndarray, ...]:
    clip = clip_of(kind)
    return tuple(clip.embed(by_pillow(p, clip.side, "pad", COLOUR)) for p in pictures())


def job(runner: Runner, mmproj: Path, **settings: Value) -> list[tuple[str, Value]]:
    keys: dict[str, Value] = {"model": runner.llm, "mmproj": mmproj, "threads": 1}
    return list({**keys, **settings}.items())


def by_runner(runner: Runner, clip: Clip, mmproj: Path, **settings: Value) -> list[np.ndarray]:
    """The embeddings of all pictures, from one loading of the model."""
    steps = []
    for number, picture in enumerate(pictures()):
        path, out = (runner.folder / f"{number}.{ending}" for ending in ("png", "embeddings"))
        picture.save(path)
        step = runner.step(str(number), path, mode="pad", max_tokens=0, embeddings=out)
        steps.append({**step, "side": clip.side})
    lines = runner.run(steps, job(runner, mmproj, **settings))
    assert [line["status"] for line in lines] == ["ok"] * len(steps)
    return [np.fromfile(str(s["embeddings"]), "<f4").reshape(-1, WIDTH) for s in steps]


def worst(kind: str, embeddings: list[np.ndarray]) -> float:
    return min(worst_cosine(a, b) for a, b in zip(by_pytorch(kind), embeddings, strict=True))


@pytest.mark.parametrize("kind", PROJECTORS)
def test_visual_tokens_are_pytorchs(runner: Runner, kind: str) -> None:
    """Otherwise the language model sees every patch at its neighbour's place, or another colour at
    the picture's edges, and answers a little worse without saying why."""
    clip = clip_of(kind)
    embeddings = by_runner(runner, clip, write_mmproj(clip, runner.folder / "mmproj.gguf"))
    count = (clip.side // 14) ** 2 // (1 if kind == "mlp" else 4)
    assert [e.shape for e in embeddings] == [(count, WIDTH)] * len(SHAPES)
    assert worst(kind, embeddings) >= 0.999999


def test_every_picture_of_a_run_and_every_thread_count_is_right(runner: Runner) -> None:
    """A warm-up before, and several threads, which start once more in the middle of the graph."""
    clip = clip_of("mlp")
    mmproj = write_mmproj(clip, runner.folder / "mmproj.gguf")
    assert worst("mlp", by_runner(runner, clip, mmproj, threads=2, warmup=1)) >= 0.999999


@pytest.mark.parametrize(("matrices", "least"), [(Q8, 0.999), (Q4, 0.95)], ids=["8 bits", "4 bits"])
@pytest.mark.parametrize("kind", PROJECTORS)
def test_quantized_matrices_load_and_stay_close(
    runner: Runner, kind: str, matrices: GGMLQuantizationType, least: float
) -> None:
    clip = clip_of(kind)
    mmproj = write_mmproj(clip, runner.folder / "mmproj.gguf", matrices)
    assert worst(kind, by_runner(runner, clip, mmproj)) >= least


def test_the_pinned_libmtmd_misplaces_the_class_token(runner: Runner) -> None:
    """Not so any more? Then native/src/class_token.h can go: the pinned llama.cpp does it right."""
    clip = clip_of("mlp")
    square = by_pillow(pictures()[0], clip.side, "pad", COLOUR)
    mmproj = write_mmproj(clip, runner.folder / "mmproj.gguf")
    wrong = stock_embeddings(runner.llm, mmproj, square)
    assert worst_cosine(wrong, clip.embed(square, class_token_last=True)) >= 0.999999
    assert worst_cosine(wrong, clip.embed(square)) < 0.9


def test_padding_is_of_the_mmprojs_mean_colour(runner: Runner) -> None:
    """Otherwise a CLIP tower sees grey bars beside the picture that it never saw in training."""
    clip = clip_of("mlp")
    mmproj = write_mmproj(clip, runner.folder / "mmproj.gguf")
    steps = []
    for number, picture in enumerate(pictures()):
        path, out = (runner.folder / f"{number}.{ending}" for ending in ("png", "rgb"))
        picture.save(path)
        step = runner.step(str(number), path, mode="pad", max_tokens=0, pixels=out)
        steps.append({**step, "side": clip.side})
    runner.run(steps, job(runner, mmproj))
    for step, picture in zip(steps, pictures(), strict=True):
        expected = by_pillow(picture, clip.side, "pad", COLOUR).tobytes()
        assert Path(str(step["pixels"])).read_bytes() == expected


@pytest.mark.parametrize(
    ("mean", "said"),
    [
        (None, "no clip.vision.image_mean"),
        ((0.5,), "of three numbers"),
        ((0.5, 0.5, 0.5, 0.5), "of three numbers"),
        ((0.5, 1.5, 0.5), "outside of 0 to 1"),
        ((0.5, float("nan"), 0.5), "outside of 0 to 1"),
    ],
)
def test_an_mmproj_without_a_mean_colour_is_refused(
    runner: Runner, mean: tuple[float, ...] | None, said: str
) -> None:
    mmproj = write_mmproj(clip_of("mlp"), runner.folder / "mmproj.gguf", mean=mean)
    pictures()[0].save(runner.folder / "0.png")
    step = {**runner.step("1", runner.folder / "0.png"), "side": SIDES["mlp"]}
    assert said in runner.fail(render(job(runner, mmproj), [step]))
