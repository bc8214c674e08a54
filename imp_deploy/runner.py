"""Talks to the native runner: writes its job file, starts it, reads its JSON lines."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from imp_deploy import process
from imp_deploy.bundle import Mode
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.record import parse

JOB_HEADER = "imp-job 1"
_CURE = "remove it, and run again with the runner that `imp-deploy build` makes"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One question about one image (or none). `prompt` holds `<image>` once if `image` is given;
    `side` in pixels. The last three name files that the runner writes: float32 embeddings
    [visual tokens, hidden], float32 logits [generated, vocabulary] and uint8 pixels
    [side, side, 3]. `text_tokens`: makes the text exactly so long, for measurements of latency, by
    dropping tokens from its start or repeating it; None: the text as it is. `force`: these tokens
    are the answer, `max_tokens` of them, whatever the model finds most likely; `logits` are then
    what it gave before each. Paths are those of the machine that the runner runs on."""

    id: str
    prompt: str
    max_tokens: int
    text_tokens: int | None = None
    image: PurePath | None = None
    side: int = 0
    mode: Mode = "squash"
    ignore_eog: bool = False
    force: tuple[int, ...] | None = None
    embeddings: PurePath | None = None
    logits: PurePath | None = None
    pixels: PurePath | None = None


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How a job is computed. As asked, zeros and "auto" leave the choice to the runner; in an
    answer all is as it was in fact ("auto": llama.cpp did not say). `threads_vision`: of the tower;
    `threads_prompt` and `threads_generate`: of the LLM where it takes many tokens at a time, and
    one; 0: as the job's `threads`. `ubatch`: the most tokens in one pass. `cache_type`: of keys
    and values; q8_0 needs flash attention and heads of a multiple of 32 values. `kernels` "stock":
    only those that the libraries would choose by themselves; "fast", also in an answer: others
    where there are any (native/src/fast_graph.h)."""

    threads_vision: int = 0
    threads_prompt: int = 0
    threads_generate: int = 0
    ubatch: int = 0
    flash_attention: Literal["auto", "on", "off"] = "auto"
    flash_attention_vision: Literal["auto", "on", "off"] = "auto"
    cache_type: Literal["f16", "q8_0", "f32"] = "f16"
    kernels: Literal["fast", "stock"] = "fast"


@dataclass(frozen=True, kw_only=True)
class Job:
    """`cpu_mask`: hexadecimal, bit n is CPU n; "": all that the system allows. `threads` 0, or more
    than there are CPUs in the mask: as many as these. `warmup`: touches all weights before the
    first step, as part of loading. `sample_ms` 0: nothing is sampled during a step. `wait`: images
    may come later, each under its name only when it is whole; after so many seconds without the one
    that is needed the run ends. `reuse`: a step about the same image as the one before it starts
    behind the image, with the same answer; its times lack what it did not do. `keep_text`: a step
    about another image starts behind the text before it, where that is the same, with the same
    answer, bit by bit; with `warmup`, the first step's text is there before it begins; not together
    with `imatrix`: a file that the runner writes at the end, if no step failed; see
    native/src/importance.h."""

    model: PurePath
    mmproj: PurePath
    stop: tuple[str, ...]
    steps: tuple[Step, ...]
    threads: int = 0
    cpu_mask: str = ""
    warmup: bool = False
    sample_ms: int = 0
    wait: int = 0
    reuse: bool = False
    imatrix: PurePath | None = None
    keep_text: bool = False
    settings: RunSettings = RunSettings()


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """The contract's phases; `total` is without `load`."""

    load: float
    vision: float
    prompt: float
    generate: float
    total: float


@dataclass(frozen=True, kw_only=True)
class Tokens:
    text: int
    visual: int
    generated: int


@dataclass(frozen=True, kw_only=True)
class State:
    """The device at one moment. `clocks_khz` per core, in the order of the cores (0: offline or
    unreadable); `limits_khz` what the system allows each core at that moment, likewise;
    `celsius` by sensor, empty where none may be read."""

    uptime_seconds: float
    clocks_khz: tuple[int, ...]
    limits_khz: tuple[int, ...]
    celsius: dict[str, float]
    memory_available_bytes: int


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What was sampled during one step: parallel columns. `seconds` since its start;
    `clocks_khz` a row of all cores per moment; `celsius` a column per sensor."""

    seconds: tuple[float, ...]
    clocks_khz: tuple[tuple[int, ...], ...]
    celsius: dict[str, tuple[float, ...]]
    rss_bytes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`text` as the model gave it; `token_ids` without the end-of-generation token. `kept_tokens`:
    those of the prompt, text and visual, that the context held already, so that `seconds.prompt`
    lacks them. `threads`, `cpu_mask` and `settings` in fact. `before` and `after` were taken
    outside the phases. `swap_bytes`: the most of the process that was in swap. `repacked_bytes`:
    the LLM's weights in the layouts of the fast kernels, `vision_repacked_bytes`: the tower's.
    `decode_bytes`: weights that are read for each generated token."""

    step: str
    text: str
    token_ids: tuple[int, ...]
    stop: Literal["eog", "string", "length"]
    tokens: Tokens
    kept_tokens: int
    seconds: Seconds
    peak_rss_bytes: int
    threads: int
    cpu_mask: str
    settings: RunSettings
    before: State
    after: State
    trace: Trace
    swap_bytes: int
    repacked_bytes: int
    vision_repacked_bytes: int
    decode_bytes: int


def job_text(job: Job) -> str:
    lines = [JOB_HEADER, _line("model", job.model), _line("mmproj", job.mmproj)]
    lines.append(_line("threads", job.threads))
    if job.cpu_mask:
        lines.append(_line("cpu_mask", job.cpu_mask))
    lines.append(_line("warmup", int(job.warmup)))
    lines.append(_line("sample_ms", job.sample_ms))
    if job.wait:
        lines.append(_line("wait", job.wait))
    if job.reuse:
        lines.append(_line("reuse", 1))
    if job.keep_text:
        lines.append(_line("keep_text", 1))
    lines += [
        _line(field.name, value)
        for field in dataclasses.fields(RunSettings)
        if (value := getattr(job.settings, field.name)) != field.default
    ]
    if job.imatrix is not None:
        lines.append(_line("imatrix", job.imatrix))
    lines += [_line("stop", text) for text in job.stop]
    for step in job.steps:
        lines += ["step", _line("id", step.id), _line("prompt", step.prompt)]
        lines.append(_line("max_tokens", step.max_tokens))
        lines.append(_line("ignore_eog", int(step.ignore_eog)))
        if step.force is not None:
            lines.append(_line("force", " ".join(map(str, step.force))))
        if step.text_tokens is not None:
            lines.append(_line("text_tokens", step.text_tokens))
        if step.image is not None:
            lines += [_line("image", step.image), _line("side", step.side)]
            lines.append(_line("mode", step.mode))
        for key in ("embeddings", "logits", "pixels"):
            path = getattr(step, key)
            if path is not None:
                lines.append(_line(key, path))
    return "\n".join(lines) + "\n"


def _line(key: str, value: object) -> str:
    return f"{key} {encoded(str(value))}"


def encoded(text: str) -> str:
    """`text` as a value of a job or a plan: `%` and control characters percent-encoded."""
    return "".join(
        f"%{ord(c):02X}" if c == "%" or ord(c) < 32 or ord(c) == 127 else c for c in text
    )


def run_job(binary: Path, job: Job, folder: Path) -> tuple[Answer, ...]:
    """Runs every step and returns the answers in the job's order. `folder` keeps job and results,
    so that a run that was cut off goes on when it is started again."""
    job_file, results = folder / "job.txt", folder / "results.jsonl"
    job_file.write_text(job_text(job), encoding="utf-8")
    finished = process.run([str(binary), str(job_file), str(results)])
    answers = parse_results(results.read_text("utf-8") if results.exists() else "")
    if finished.returncode != 0 and any(step.id not in answers for step in job.steps):
        raise DeviceError(f"The runner failed: {finished.evidence()}")
    return tuple(answer_for(answers, step.id) for step in job.steps)


def parse_results(text: str) -> dict[str, dict[str, Any]]:
    """Records by step id, the last one of each."""
    records: dict[str, dict[str, Any]] = {}
    for line in text.split("\n")[:-1]:  # an unfinished last line has no newline
        record = json.loads(line)
        records[record["step"]] = record
    return records


def answer_for(records: dict[str, dict[str, Any]], step: str) -> Answer:
    """The answer to one step, by what `parse_results` read. A step that failed for its own reasons
    is a `BadInput`; one that has no result, or that the runner could not do, a `DeviceError`."""
    record = records.get(step)
    if record is None:
        raise DeviceError(f"The runner ended without a result for step {step}; run it again.")
    if record["status"] != "ok":
        message = str(record["message"])
        if record["kind"] in ("image", "prompt", "context"):
            raise BadInput(message)
        raise DeviceError(message)
    return answer(record)


def answer(line: dict[str, Any]) -> Answer:
    """A line of results with status "ok". Strict: a runner of another version is told from ours by
    what its lines hold, as a `BadInput`."""
    values = {k: v for k, v in line.items() if k != "status"}
    return parse(Answer, values, f"the result of step {line.get('step')}", _CURE)
