"""A candidate as the other commands would leave it, made up: a bundle of five files, an evaluation
and a measurement of quality of one variant, a measurement of speed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from imp_deploy import bundle, evaluation, quality, results
from imp_deploy.bundle import Bundle, BundleFile, LlamaCpp, Preprocess, PromptSpec, Source
from imp_deploy.evaluation import Evaluation, EvaluationProtocol, Score, TaskRecord
from imp_deploy.files import sha256_of
from imp_deploy.quality import Item, Quality
from imp_deploy.results import Result
from tests.bench.report import made as timed

QUESTIONS = 500
TASK = TaskRecord(
    name="demo",
    title="Demo scenes",
    split="test",
    questions=QUESTIONS,
    asked=QUESTIONS,
    seed=None,
    sha256="5c" * 32,
)
TIMED = timed.result()


def a_bundle(**other: int) -> Bundle:
    """`other`: bytes by type of the file."""
    sizes = {"F16": 6890976, "Q8_0": 3696160, "Q4_0": 2026016, **other}
    bits = {"F16": 16, "Q8_0": 8, "Q4_0": 4}
    files = [
        BundleFile(
            path=f"Imp-{kind}.gguf",
            role="llm",
            bits=bits[kind],
            type=kind,
            bytes=size,
            sha256=f"{bits[kind]:02d}" * 32,  # as those of the results
        )
        for kind, size in sizes.items()
    ]
    files += [
        BundleFile(
            path=f"mmproj-Imp-{side}-F16.gguf",
            role="vision",
            bits=16,
            type="F16",
            bytes=2213536,
            sha256=f"{side % 100:02d}" * 32,
            resolution=side,
            visual_tokens=side,
        )
        for side in (384, 196)
    ]
    return Bundle(
        name="Imp-v1.5-3B",
        source=Source(
            model="imp",
            family="imp-phi2",
            weights_sha256="ef" * 32,
            settings_sha256="ef" * 32,
            stamp="ef" * 32,
        ),
        llama_cpp=LlamaCpp(package="0.3.36", commit="0c1e57098bba"),
        prompt=PromptSpec(template="<image>{question}", stop=("</s>",)),
        preprocess=Preprocess(mode="squash", mean=(0.5,) * 3, std=(0.5,) * 3, stock_exact=True),
        files=tuple(files),
    )


def marks(wrong: int = 60, *, n: int = QUESTIONS, first: int = 0) -> dict[str, float]:
    """`wrong` of `n` questions, from number `first` on, are wrong."""
    return {f"scene-{i}": float(not first <= i < first + wrong) for i in range(n)}


def an_evaluation(given: dict[str, float] | None = None, **other: Any) -> Evaluation:
    given = marks() if given is None else given
    value = 100 * sum(given.values()) / max(1, len(given))
    made = Evaluation(
        task=replace(TASK, asked=len(given)),
        bundle=TIMED.bundle,
        variant=TIMED.variant,
        device=replace(TIMED.device, kind="host", emulated=False),
        runner=TIMED.runner,
        protocol=EvaluationProtocol(max_tokens=8, threads=0, cpu_mask="", template="{question}"),
        started="2026-03-14T09:26:53Z",
        seconds=12.5,
        marks=given,
        score=Score(metric="accuracy", value=value, low=0, high=100, most=100, parts={}),
        submission=None,
        complete=True,
    )
    return replace(made, **other)


def half_an_evaluation(answered: int = 312) -> Evaluation:
    few = dict(list(marks().items())[:answered])
    return an_evaluation(few, task=TASK, complete=False, score=None)


def an_item(number: int, rng: random.Random, *, kl: float, flips: float, cosine: float) -> Item:
    """`kl`: the mean of the divergences, which are spread exponentially; `flips`: how often the
    most likely token differs; `cosine`: how far the embeddings are from 1."""
    count = 2 + number % 3
    reference = tuple(-rng.expovariate(5) for _ in range(count))
    return Item(
        id=f"scene-{number}",
        kl=tuple(rng.expovariate(1 / kl) for _ in range(count)),
        agree=tuple(rng.random() >= flips for _ in range(count)),
        reference_log_p=reference,
        log_p=tuple(v - rng.gauss(kl, kl) for v in reference),
        worst_cosine=1 - 4 * cosine,
        mean_cosine=1 - cosine * rng.uniform(0.8, 1.2),
    )


def a_quality(
    *, n: int = 200, seed: int = 1, kl: float = 0.02, flips: float = 0.01, **other: Any
) -> Quality:
    cosine = other.pop("cosine", 0.0005)
    rng = random.Random(seed)
    made = Quality(
        task=replace(TASK, asked=n),
        bundle=TIMED.bundle,
        variant=TIMED.variant,
        reference_bundle=timed.result(16, 196).bundle,
        reference=timed.result(16, 196).variant,
        runner=TIMED.runner,
        max_tokens=8,
        threads=2,
        dropped_mass=1e-6,
        started="2026-03-14T09:26:53Z",
        items=tuple(an_item(i, rng, kl=kl, flips=flips, cosine=cosine) for i in range(n)),
    )
    return replace(made, **other)


def scaled(result: Result, factor: float) -> Result:
    """The same repetitions, each phase `factor` times as long."""

    def longer(sample: results.Sample) -> results.Sample:
        s = sample.seconds
        seconds = {name: factor * getattr(s, name) for name in vars(s)}
        return replace(sample, seconds=replace(s, **seconds))

    return replace(result, samples=tuple(map(longer, result.samples)))


def saved(folder: Path, *made: Bundle | Evaluation | Quality | Result) -> Path:
    """All of them in one candidate's folder."""
    for number, each in enumerate(made):
        inside = folder / f"{number}"
        inside.mkdir(parents=True)
        match each:
            case Bundle():
                bundle.save(inside, each)
            case Evaluation():
                path = inside / "evaluation.json"
                lines = "".join(json.dumps({"id": name}) + "\n" for name in each.marks)
                evaluation.answers_path(path).write_text(lines)
                digest = sha256_of(evaluation.answers_path(path)) if each.complete else ""
                evaluation.save(path, replace(each, answers_sha256=digest))
            case Quality():
                quality.save(inside / "quality.json", each)
            case Result():
                results.save(inside / "result.json", each)
    return folder


def whole(folder: Path) -> Path:
    return saved(folder, a_bundle(), an_evaluation(), a_quality(), TIMED)


def program(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The real program."""
    return subprocess.run(
        [sys.executable, "-m", "imp_deploy", "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"COLUMNS": "80", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )


def document(*arguments: object) -> tuple[int, dict[str, Any]]:
    """Its exit code and its JSON."""
    done = program(*arguments, "--json")
    value = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    assert isinstance(value, dict)
    return done.returncode, value
