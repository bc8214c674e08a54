"""Results as a phone would give them, made up: an SM8650 that warms up, an emulated one,
failures; and evaluations and measurements of quality of the same files."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from imp_deploy import evaluation, quality, results
from imp_deploy.evaluation import Evaluation, EvaluationProtocol, Score, TaskRecord
from imp_deploy.quality import Item, Quality
from imp_deploy.results import (
    BundleRecord,
    Conditions,
    Core,
    DeviceRecord,
    Failure,
    FileRecord,
    Protocol,
    Result,
    RunnerRecord,
    Sample,
    State,
    Trace,
    VariantRecord,
    Warning,
)
from imp_deploy.runner import Seconds, Tokens

GIB = 2**30
NASTY = """<script>alert("1")</script> & 'x' | `y` \x07 =cmd()"""

PHONE = DeviceRecord(
    kind="adb",
    serial="R3CX40ABCDE",
    manufacturer="Xiaomi",
    model="23127PN0CG",
    soc="SM8650",
    abi="arm64-v8a",
    cores=tuple(
        Core(cpu=i, max_khz=khz)
        for i, khz in enumerate([2265600] * 2 + [3148800] * 3 + [2956800] * 2 + [3302400])
    ),
    features=("fp", "asimd", "asimdhp", "asimddp", "i8mm", "bf16"),
    memory_bytes=16 * GIB,
    os="Android 14",
    fingerprint="Xiaomi/houji/houji:14/UKQ1.230804.001/V816.0.5.0:user/release-keys",
    emulated=False,
)
EMULATED = replace(
    PHONE,
    kind="virtual",
    serial="virtual-1",
    manufacturer="Imp",
    model="Virtual SM8650",
    fingerprint="imp/virtual/virtual:14/1/1:user/test-keys",
    emulated=True,
)
RUNNER = RunnerRecord(
    target="android-i8mm",
    llama_cpp="0c1e57098bba",
    build_flags="-O3 -mcpu=cortex_x4",
    system_info="CPU : NEON = 1 | ARM_FMA = 1 | MATMUL_INT8 = 1 | REPACK = 1",
    sha256="ab" * 32,
)
PROTOCOL = Protocol(
    name="paper",
    text_tokens=41,
    generated_tokens=64,
    warmups=1,
    repetitions=5,
    threads=6,
    cpu_mask="fc",
    cooldown_celsius=38.0,
    cooldown_seconds=180.0,
    sample_milliseconds=250,
    prompt="<image>\nDescribe the picture in detail.",
    image_sha256="cd" * 32,
)
GOOD = Conditions(screen_on=True, battery_percent=81, charging=False, battery_saver=False)
LLM_BYTES = {16: int(5.18 * GIB), 8: int(2.76 * GIB), 4: int(1.48 * GIB)}
TYPES = {16: "F16", 8: "Q8_0", 4: "Q4_0"}
S_GEN = {16: 7.1, 8: 12.9, 4: 21.7}
S_PROMPT = {16: 71.0, 8: 104.0, 4: 98.0}
VISION = {384: (1.71, 729), 196: (0.39, 196)}
VARIANTS = tuple((bits, side) for side in (384, 196) for bits in (16, 8, 4))


def state(uptime: float, heat: float) -> State:
    return State(
        uptime_seconds=uptime,
        clocks_khz=tuple(int(c.max_khz * 0.4) for c in PHONE.cores),
        limits_khz=tuple(c.max_khz for c in PHONE.cores),
        celsius={"cpu-0-0": heat, "cpu-1-7": heat + 4, "skin": 31 + (heat - 30) / 4},
        memory_available_bytes=7 * GIB,
    )


def trace(seconds: float, heat: float, rng: random.Random) -> Trace:
    count = max(2, int(seconds / 0.25))
    moments = tuple(seconds * i / (count - 1) for i in range(count))
    warm = [heat + 9 * (1 - 0.97**i) + rng.random() for i in range(count)]
    slow = [1.0 if t < 47 else 0.72 for t in warm]
    return Trace(
        seconds=moments,
        clocks_khz=tuple(
            tuple(int(c.max_khz * f * (0.3 if c.cpu < 2 else 1)) for c in PHONE.cores) for f in slow
        ),
        celsius={
            "cpu-0-0": tuple(warm),
            "cpu-1-7": tuple(t + 6 for t in warm),
            "skin": tuple(31 + (t - 30) / 4 for t in warm),
        },
        rss_bytes=tuple(int(2.3 * GIB) for _ in range(count)),
    )


def sample(number: int, bits: int, side: int, uptime: float, rng: random.Random) -> Sample:
    vision, visual = VISION[side]
    vision *= rng.uniform(0.98, 1.03)
    prompt = (41 + visual) / S_PROMPT[bits] * rng.uniform(0.98, 1.04)
    generate = 63 / S_GEN[bits] * rng.uniform(0.98, 1.05)
    total = vision + prompt + generate + rng.uniform(0.02, 0.05)
    heat = 36 + number + 4 * rng.random()
    return Sample(
        round=number,
        warmup=number == 0,
        seconds=Seconds(load=1.9, vision=vision, prompt=prompt, generate=generate, total=total),
        tokens=Tokens(text=41, visual=visual, generated=64),
        token_ids=tuple(range(64)),
        threads=6,
        cpu_mask="fc",
        rested_seconds=10 + 5 * rng.random(),
        rest_reached=number < 4,
        conditions=GOOD,
        before=state(uptime, heat),
        after=state(uptime + total, heat + 9),
        trace=trace(total, heat, rng),
        peak_rss_bytes=LLM_BYTES[bits] + GIB,
        swap_bytes=0,
        repacked_bytes=LLM_BYTES[bits] if bits == 4 else 0,
        decode_bytes=int(LLM_BYTES[bits] * 0.95),
    )


def result(
    bits: int = 4, side: int = 196, *, device: DeviceRecord = PHONE, seed: int = 1, **other: Any
) -> Result:
    """One complete result; its repetitions lie in the gaps of the other variants'."""
    rng = random.Random(f"{bits} {side} {seed}")
    place = VARIANTS.index((bits, side))
    made = Result(
        device=device,
        runner=RUNNER,
        bundle=BundleRecord(
            name="Imp-v1.5-3B",
            family="imp-phi2",
            weights_sha256="ef" * 32,
            files=(
                FileRecord(
                    path=f"Imp-v1.5-3B-{TYPES[bits]}.gguf",
                    role="llm",
                    bits=bits,
                    type=TYPES[bits],
                    bytes=LLM_BYTES[bits],
                    sha256=f"{bits:02d}" * 32,
                ),
                FileRecord(
                    path=f"mmproj-Imp-v1.5-3B-{side}-F16.gguf",
                    role="vision",
                    bits=16,
                    type="F16",
                    bytes=int(0.78 * GIB),
                    sha256=f"{side % 100:02d}" * 32,
                ),
            ),
        ),
        variant=VariantRecord(
            bits=bits, resolution=side, vision_bits=16, visual_tokens=VISION[side][1]
        ),
        protocol=PROTOCOL,
        conditions=GOOD,
        run="20260314T092653Z",
        started="2026-03-14T09:26:53Z",
        bandwidth_bytes_per_second=42.5e9,
        samples=tuple(sample(n, bits, side, 5000 + 240.0 * n + 40 * place, rng) for n in range(6)),
        failures=(),
        warnings=(),
        complete=True,
    )
    return replace(made, **other)


def emulated(bits: int = 4, side: int = 196, **other: Any) -> Result:
    return result(bits, side, device=EMULATED, bandwidth_bytes_per_second=3.1e9, **other)


def incomplete(**other: Any) -> Result:
    whole = result(16, 384)
    failures = (
        Failure(
            round=4,
            kind="killed",
            message="The system killed the runner, most likely for memory; close other apps.",
        ),
    )
    return replace(whole, samples=whole.samples[:4], failures=failures, complete=False, **other)


def only_failures(**other: Any) -> Result:
    return replace(incomplete(), samples=(), **other)


def warned(bits: int = 4, side: int = 384, **other: Any) -> Result:
    warnings = (
        Warning(code="throttled", message="The prime core fell to 72 % of its clock in round 4."),
        Warning(code="spread", message="T_total varies by 12 % between the repetitions."),
    )
    return result(bits, side, warnings=warnings, **other)


def nasty(**other: Any) -> Result:
    """Everything from outside holds what breaks HTML, Markdown or CSV."""
    device = replace(PHONE, manufacturer=NASTY, model=NASTY, soc=NASTY, os=NASTY, fingerprint=NASTY)
    plain = warned()
    bundle = replace(plain.bundle, name=NASTY)
    warnings = (Warning(code=NASTY, message=NASTY),)
    return replace(plain, device=device, bundle=bundle, warnings=warnings, run=NASTY, **other)


def family() -> list[Result]:
    """All six variants of one run, one of them with warnings."""
    plain = [result(bits, side) for bits, side in VARIANTS if (bits, side) != (4, 384)]
    return [*plain, warned()]


def everything() -> list[Result]:
    """What a long report holds."""
    other_runner = replace(RUNNER, sha256="99" * 32, build_flags="-O3 -mcpu=cortex_x1")
    later = result(4, 196, seed=2, started="2026-03-15T18:05:10Z", run="20260315T180510Z")
    virtual = [emulated(bits, side) for bits, side in ((8, 196), (4, 196))]
    return [
        *family(),
        later,
        result(4, 196, seed=3, runner=other_runner, started="2026-03-16T08:00:00Z"),
        incomplete(),
        only_failures(started="2026-03-14T11:00:00Z"),
        *virtual,
    ]


HOST = replace(
    PHONE,
    kind="host",
    serial="",
    manufacturer="",
    model="EPYC 7763",
    soc="",
    abi="x86_64",
    os="Linux 6.1",
    fingerprint="#1 SMP",
)
TITLES = {
    "demo": "Demo scenes",
    "scienceqa": "ScienceQA-IMG",
    "mmbench": "MMBench",
    "mme": "MME perception",
    "mmvet": "MM-Vet",
}
RIGHT = {16: 0.92, 8: 0.918, 4: 0.89}


def evaluated(
    bits: int = 4, side: int = 196, *, task: str = "demo", asked: int = 500, **other: Any
) -> Evaluation:
    """A complete evaluation of the very files of `result(bits, side)`, computed on the host; its
    marks have the mean of its score."""
    held = result(bits, side)
    right = round(asked * (RIGHT[bits] - (0.05 if side == 196 else 0)))
    value = 100 * right / asked
    most = 2000.0 if task == "mme" else 100.0
    made = Evaluation(
        task=TaskRecord(
            name=task,
            title=TITLES[task],
            split="test",
            questions=500,
            asked=asked,
            seed=None if asked == 500 else 1,
            sha256=hashlib.sha256(f"{task} {asked}".encode()).hexdigest(),
        ),
        bundle=held.bundle,
        variant=held.variant,
        device=HOST,
        runner=replace(RUNNER, target="host", sha256="aa" * 32),
        protocol=EvaluationProtocol(
            max_tokens=16, threads=0, cpu_mask="", template="<image>{question}"
        ),
        started="2026-03-13T20:00:00Z",
        seconds=812.5,
        marks={f"q{i}": float(i < right) for i in range(asked)},
        score=Score(
            metric="accuracy",
            value=value * most / 100,
            low=(value - 2.8) * most / 100,
            high=(value + 2.5) * most / 100,
            most=most,
            parts={"yes": 0.5},
        ),
        submission=None,
        complete=True,
    )
    return replace(made, **other)


def unfinished(bits: int = 4, side: int = 196, *, answered: int = 312, **other: Any) -> Evaluation:
    whole = evaluated(bits, side, **other)
    marks = dict(list(whole.marks.items())[:answered])
    return replace(whole, marks=marks, score=None, complete=False)


def for_a_server(bits: int = 4, side: int = 196, **other: Any) -> Evaluation:
    """A task that only a server or grader can score."""
    whole = evaluated(bits, side, task="mmvet", **other)
    return replace(whole, marks={}, score=None, submission="mmvet.submission.json")


def distance(bits: int = 4, side: int = 196, **other: Any) -> Quality:
    """Of the very files of `result(bits, side)`, against 16 bits of the same resolution."""
    held, reference = result(bits, side), result(16, side)
    loss = {16: 0.0, 8: 0.002, 4: 0.03}[bits]
    items = tuple(
        Item(
            id=f"q{i}",
            kl=(loss, 2 * loss, loss * i),
            agree=(True, True, bits == 16 or i % bits != 3),
            reference_log_p=(-0.1, -0.2, -0.3),
            log_p=(-0.1 - loss, -0.2, -0.3 - loss),
            worst_cosine=1 - loss,
            mean_cosine=1 - loss / 2,
        )
        for i in range(8)
    )
    made = Quality(
        task=TaskRecord(
            name="demo",
            title="Demo scenes",
            split="test",
            questions=500,
            asked=8,
            seed=1,
            sha256="12" * 32,
        ),
        bundle=held.bundle,
        variant=held.variant,
        reference_bundle=reference.bundle,
        reference=reference.variant,
        runner=RUNNER,
        max_tokens=16,
        threads=0,
        dropped_mass=1e-4,
        started="2026-03-13T22:00:00Z",
        items=items,
    )
    return replace(made, **other)


def table4() -> list[Result | Evaluation | Quality]:
    """The paper's Table 4 as we would have it: six timed variants with their accuracies."""
    tasks = ("demo", "scienceqa", "mmbench")
    evaluations = [evaluated(*v, task=task) for v in VARIANTS for task in tasks]
    return [*family(), *evaluations, *(distance(*v) for v in VARIANTS)]


def saved(folder: Path, *made: Result | Evaluation | Quality) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(made):
        if isinstance(each, Result):
            results.save(folder / f"result-{number}.json", each)
        elif isinstance(each, Evaluation):
            evaluation.save(folder / f"evaluation-{number}.json", each)
        else:
            quality.save(folder / f"quality-{number}.json", each)
    return folder


def report(*arguments: object) -> Any:
    """What `imp-deploy report` does with these arguments; errors are raised."""
    import typer

    from imp_deploy.cli.report import command

    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
