"""The fast kernels: the same embeddings and answers as with those that the libraries choose."""

from __future__ import annotations

import copy
import functools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from PIL import Image

from imp_deploy.build.phone import build_phones
from imp_deploy.progress import Unseen
from tests.native.clip import COLOUR, Clip, make_clip, write_mmproj
from tests.native.jobs import Line, Runner, Value
from tests.native.pixels import by_pillow
from tests.pictures import noise

F16, Q8, Q4 = (GGMLQuantizationType[name] for name in ("F16", "Q8_0", "Q4_0"))
WIDTH = 256  # of the demo's language model
SIDE = 70
FLAGS = Path("/proc/cpuinfo").read_text()
X86 = "avx512_vnni" in FLAGS
AMX = "amx_int8" in FLAGS  # then the language model has ggml's kernels for that


@functools.cache
def tower() -> Clip:
    return make_clip("mlp", WIDTH, side=SIDE)


def picture() -> Image.Image:
    return noise(300, 200, 7)


def embed(runner: Runner, mmproj: Path, **job: Value) -> tuple[np.ndarray, Line]:
    path, out = runner.folder / "picture.png", runner.folder / "embeddings"
    picture().save(path)
    step = runner.step("1", path, mode="pad", max_tokens=0, embeddings=out, side=SIDE)
    keys: dict[str, Value] = {"model": runner.llm, "mmproj": mmproj, "threads": 1, **job}
    (line,) = runner.run([step], list(keys.items()), out=runner.folder / "out.jsonl")
    (runner.folder / "out.jsonl").unlink()
    return np.fromfile(out, "<f4").reshape(-1, WIDTH), line


def worst_cosine(a: np.ndarray, b: np.ndarray) -> float:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / norms).min())


def rounded(clip: Clip, kind: GGMLQuantizationType) -> Clip:
    """The model with the weights that the quantized file stands for, in float32."""
    clip = copy.deepcopy(clip)
    with torch.no_grad():
        for name, values in (*clip.tower.named_parameters(), *clip.projector.named_parameters()):
            if values.dim() == 2 and "embedding" not in name:
                quantized = quants.quantize(np.asarray(values), kind)
                values.copy_(torch.from_numpy(quants.dequantize(quantized, kind)))
    return clip


@pytest.mark.parametrize("kind", [Q8, Q4], ids=["8 bits", "4 bits"])
def test_the_fast_kernels_are_as_exact_as_those_of_the_library(
    runner: Runner, kind: GGMLQuantizationType
) -> None:
    """Both round activations to 8 bits per block, each in its own way; the error of that against
    the same weights in float32 must not grow."""
    mmproj = write_mmproj(tower(), runner.folder / "mmproj.gguf", kind)
    stock, unchanged = embed(runner, mmproj, kernels="stock")
    fast, changed = embed(runner, mmproj)
    assert unchanged["vision_repacked_bytes"] == 0
    assert unchanged["settings"]["kernels"] == "stock"
    assert changed["settings"]["kernels"] == "fast"
    square = by_pillow(picture(), SIDE, "pad", COLOUR)
    exact = rounded(tower(), kind).embed(square)
    assert np.abs(fast - exact).mean() < 1.05 * np.abs(stock - exact).mean()
    assert worst_cosine(fast, exact) > 0.9998
    if X86:
        assert changed["vision_repacked_bytes"] > 0
        assert not np.array_equal(stock, fast), "the same kernels ran"


def test_a_16_bit_tower_is_left_alone(runner: Runner) -> None:
    mmproj = write_mmproj(tower(), runner.folder / "mmproj.gguf", F16)
    stock, _ = embed(runner, mmproj, kernels="stock")
    fast, line = embed(runner, mmproj)
    assert np.array_equal(stock, fast)
    assert line["vision_repacked_bytes"] == 0


def test_threads_do_not_change_one_bit(runner: Runner) -> None:
    mmproj = write_mmproj(tower(), runner.folder / "mmproj.gguf", Q8)
    one, _ = embed(runner, mmproj, threads=1)
    two, _ = embed(runner, mmproj, threads=2)
    assert np.array_equal(one, two)


def four_bits(runner: Runner) -> Path:
    return next(path for path in runner.bundle.glob("*-Q4_0.gguf") if "mmproj" not in path.name)


def test_neither_threads_nor_what_is_kept_change_a_4_bit_models_prompts(runner: Runner) -> None:
    """Its prompts go through other kernels for many columns than for few."""
    steps = []
    for number in range(3):
        path = runner.folder / f"{number}.png"
        noise(300, 200, number).save(path)
        logits = runner.folder / f"{number}.logits"
        steps.append(runner.step(str(number), path, logits=logits))

    def asked(**job: Value) -> list[bytes]:
        runner.run(steps, runner.job(model=four_bits(runner), **job))
        return [(runner.folder / f"{number}.logits").read_bytes() for number in range(3)]

    alone = asked()
    assert asked(threads=2) == alone
    assert asked(keep_text=1, reuse=1) == alone


def test_prompts_of_a_4_bit_model_give_the_same_tokens(runner: Runner) -> None:
    path = runner.folder / "picture.png"
    picture().save(path)
    answers, logits = {}, {}
    for kernels in ("stock", "fast"):
        out = runner.folder / f"{kernels}.logits"
        step = runner.step("1", path, logits=out)
        job = runner.job(model=four_bits(runner), kernels=kernels)
        (line,) = runner.run([step], job, out=runner.folder / f"{kernels}.jsonl")
        answers[kernels] = line["token_ids"]
        logits[kernels] = np.fromfile(out, "<f4")
    assert answers["stock"] == answers["fast"]
    spread = float(logits["stock"].std())
    worst = float(np.abs(logits["stock"] - logits["fast"]).max())
    assert worst < 0.1 * spread
    assert (worst > 0) == (X86 and not AMX), "the same kernels ran, or others without need"


@pytest.mark.parametrize("target", ["android-i8mm", "android-dotprod"])
@pytest.mark.parametrize("kind", [Q8, Q4], ids=["8 bits", "4 bits"])
def test_a_phone_repacks_the_tower(runner: Runner, target: str, kind: GGMLQuantizationType) -> None:
    """Emulated. The repacked kernels add up in another order, so that now and then an activation,
    which they round to 8 bits, is rounded the other way. With one layer this moves few patches."""
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("qemu-user-static is not installed")
    program = next(b.program for b in build_phones(progress=Unseen()) if b.target == target)
    wrapper = runner.folder / "emulated"
    wrapper.write_text(f'#!/bin/sh\nexec {emulator} -cpu max {program} "$@"\n')
    wrapper.chmod(0o755)
    assert subprocess.run([wrapper, "--version"], capture_output=True).returncode == 0
    phone = replace(runner, binary=wrapper)
    one_layer = make_clip("mlp", WIDTH, side=SIDE, layers=2)  # the last is not used
    mmproj = write_mmproj(one_layer, runner.folder / "mmproj.gguf", kind)
    stock, unchanged = embed(phone, mmproj, kernels="stock")
    fast, changed = embed(phone, mmproj)
    assert unchanged["vision_repacked_bytes"] == 0
    assert changed["vision_repacked_bytes"] > 0
    patches = np.abs(stock - fast).max(axis=1) / stock.std()
    assert np.quantile(patches, 0.9) < 1e-5
    assert patches.max() < 0.1
