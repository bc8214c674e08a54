"""One question about one image, answered by a bundle on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from imp_deploy import prompt, runner
from imp_deploy.build.host import build_host
from imp_deploy.bundle import Bundle, Variant
from imp_deploy.image import load_rgb, write_ppm
from imp_deploy.runner import Answer, RunSettings


def ask(
    folder: Path,
    bundle: Bundle,
    variant: Variant,
    *,
    image: Path,
    question: str,
    max_tokens: int,
    threads: int,
    cpu_mask: str = "",
    settings: RunSettings | None = None,
) -> Answer:
    """`threads` 0: all of the machine's; `settings` None: the runner's own. Greedy decoding."""
    filled = prompt.fill(bundle.prompt, question)
    pixels = load_rgb(image)
    binary = build_host()
    assert variant.vision.resolution is not None
    with tempfile.TemporaryDirectory() as scratch:
        ppm = Path(scratch) / "image.ppm"
        write_ppm(pixels, ppm)
        step = runner.Step(
            id="question",
            image=ppm,
            prompt=filled,
            side=variant.vision.resolution,
            mode=bundle.preprocess.mode,
            max_tokens=max_tokens,
        )
        job = runner.Job(
            model=folder / variant.llm.path,
            mmproj=folder / variant.vision.path,
            threads=threads,
            cpu_mask=cpu_mask,
            settings=settings or RunSettings(),
            stop=bundle.prompt.stop,
            steps=(step,),
        )
        return runner.run_job(binary, job, Path(scratch))[0]
