"""What came of a run so far, from the two files that the runner appends to on the device."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imp_deploy import record
from imp_deploy.bench.describe import parse_conditions
from imp_deploy.bench.plan import Repetition
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.results import Failure, Sample

# As strerror spells ENOSPC, EDQUOT and EFBIG, in musl and in glibc.
_FULL = re.compile("no space left|quota exceeded|file too large", re.IGNORECASE)
# By the kind that the runner gives an error: ours, and what to do.
_CURES = {
    "model": ("model", "export the bundle again"),
    "context": ("error", "give a smaller --max-tokens or --text-tokens"),
    "image": ("error", "give another --image"),
    "prompt": ("error", "give another --prompt"),
}
_SIGILL, _SIGKILL, _SIGXFSZ = 4, 9, 25


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`samples` and `failures` by the repetition's id; `current`: the repetition at work or at
    rest, `resting` its sensor's degrees Celsius while it rests; `finished`: the supervisor came to
    its end."""

    samples: Mapping[str, Sample] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    current: str | None = None
    resting: float | None = None
    finished: bool = False


def read(
    logs: Sequence[str], results: str, repetitions: Sequence[Repetition], warmups: int
) -> Outcome:
    """`logs` (of each attempt) and `results`: JSON lines; a last line without its end is still
    being written."""
    rounds = {repetition.id: repetition.round for repetition in repetitions}
    started: dict[str, dict[str, Any]] = {}
    failures: dict[str, Failure] = {}
    for line in lines_of("".join(logs)):
        run = line.get("run")
        if run not in rounds:
            continue
        if line["status"] == "started":
            started[run] = line
            failures.pop(run, None)
        failure = _failure(line, rounds[run])
        if failure is not None:
            failures.setdefault(run, failure)
    now = lines_of(logs[-1]) if logs else []
    last = now[-1] if now else {}
    samples: dict[str, Sample] = {}
    for line in lines_of(results):
        run = line.get("step", "")
        if run in rounds and line["status"] == "ok":
            samples[run] = _sample(line, started.get(run, {}), rounds[run], warmups)
        elif run in rounds:
            failures[run] = _error(line, rounds[run])
    status = last.get("status")
    return Outcome(
        samples=samples,
        failures={run: failure for run, failure in failures.items() if run not in samples},
        current=last.get("run") if status in ("started", "resting") else None,
        resting=last.get("celsius") if status == "resting" else None,
        finished=status == "finished",
    )


def lines_of(text: str) -> list[dict[str, Any]]:
    """A line that is no JSON, as a sudden power loss leaves them, is passed over: its repetition
    then has no sample and is measured again."""
    values = []
    for line in text.split("\n")[:-1]:
        with contextlib.suppress(ValueError):
            values.append(json.loads(line))
    return [value for value in values if isinstance(value, dict) and "status" in value]


def _sample(line: dict[str, Any], started: dict[str, Any], number: int, warmups: int) -> Sample:
    kept = {k: v for k, v in line.items() if k not in ("step", "status", "text", "stop")}
    value = {
        **kept,
        "round": number,
        "warmup": number < warmups,
        "conditions": dataclasses.asdict(parse_conditions(started.get("note", ""))),
        "rested_seconds": started.get("rested_seconds", 0.0),
        "rest_reached": started.get("rest_reached", False),
    }
    try:
        return record.parse(Sample, value, "the runner's results", "run it again with --force")
    except BadInput as error:
        raise DeviceError(f"The runner on the device is not this version's: {error}") from None


def _error(line: dict[str, Any], number: int) -> Failure:
    message = str(line.get("message", ""))
    if _FULL.search(message):
        return Failure(round=number, kind="disk_full", message=disk_full(message))
    kind, cure = _CURES.get(str(line.get("kind")), ("error", "report it"))
    return Failure(
        round=number, kind=kind, message=f"The runner could not do it: {message}; {cure}."
    )


def _failure(line: dict[str, Any], number: int) -> Failure | None:
    """Of a repetition that ended without success."""
    if line["status"] == "skipped":
        return Failure(
            round=number,
            kind="skipped",
            message="The repetition was left out, because the variant had failed twice before.",
        )
    if line["status"] != "ended" or line["exit"] == 0:
        return None
    kind, message = reason(line)
    return Failure(round=number, kind=kind, message=message)


def reason(line: dict[str, Any]) -> tuple[str, str]:
    """Kind and sentence for a run of the runner that did not end with status 0."""
    signal, stderr = line["signal"], str(line["stderr"]).strip()
    if line["timed_out"]:
        return "hang", (
            f"A repetition did not end within {line['seconds']:.0f} s and was killed; allow more "
            "with --timeout, or look at what else the device does."
        )
    if signal == _SIGXFSZ or _FULL.search(stderr):
        return "disk_full", disk_full(stderr)
    if signal == _SIGKILL:
        return "killed", (
            "The system killed the runner (signal 9), most likely because memory ran short; close "
            "apps on the phone, or measure fewer --bits."
        )
    if signal == _SIGILL:
        return "illegal_instruction", (
            "The processor does not know an instruction of the runner (signal 4, SIGILL); report "
            "it with the phone's /proc/cpuinfo."
        )
    if signal is not None:
        return "crashed", f"The runner crashed (signal {signal}); report it. {stderr[-300:]}"
    return "error", (
        f"The runner ended with status {line['exit']} ({stderr[-300:]}); run the same command "
        "again, or report it."
    )


def disk_full(evidence: str) -> str:
    """What to say about it."""
    return (
        f"The phone's disk is full ({evidence[-120:]}); free some space there, and run the same "
        "command again."
    )
