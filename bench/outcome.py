"""What came of a run so far, from the two files that the runner appends to on the device."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imp_deploy import record
from imp_deploy.bench.plan import Repetition
from imp_deploy.errors import DeviceError
from imp_deploy.results import Failure, Sample

# As strerror spells ENOSPC, EDQUOT and EFBIG, in musl and in glibc.
_FULL = re.compile("no space left|quota exceeded|file too large", re.IGNORECASE)
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
    for line in _lines("".join(logs)):
        run = line.get("run")
        if run not in rounds:
            continue
        if line["status"] == "started":
            started[run] = line
            failures.pop(run, None)
        failure = _failure(line, rounds[run])
        if failure is not None:
            failures.setdefault(run, failure)
    now = _lines(logs[-1]) if logs else []
    last = now[-1] if now else {}
    samples: dict[str, Sample] = {}
    for line in _lines(results):
        run = line.get("step", "")
        if run in rounds and line["status"] == "ok":
            samples[run] = _sample(line, started.get(run, {}), rounds[run], warmups)
        elif run in rounds or (run == "" and last.get("run") in rounds):
            run = run or last["run"]
            failures[run] = _error(line, rounds[run])
    status = last.get("status")
    return Outcome(
        samples=samples,
        failures={run: failure for run, failure in failures.items() if run not in samples},
        current=last.get("run") if status in ("started", "resting") else None,
        resting=last.get("celsius") if status == "resting" else None,
        finished=status == "finished",
    )


def _lines(text: str) -> list[dict[str, Any]]:
    values = []
    for line in text.split("\n")[:-1]:
        try:
            values.append(json.loads(line))
        except ValueError:
            raise DeviceError(
                f"The device's results hold a line that is no JSON ({line[:80]!r}); measure again "
                "with --force."
            ) from None
    return values


def _sample(line: dict[str, Any], started: dict[str, Any], number: int, warmups: int) -> Sample:
    kept = {k: v for k, v in line.items() if k not in ("step", "status", "text", "stop")}
    value = {
        **kept,
        "round": number,
        "warmup": number < warmups,
        "rested_seconds": started.get("rested_seconds", 0.0),
        "rest_reached": started.get("rest_reached", False),
    }
    return record.parse(Sample, value, "the runner's results", "build the runner again")


def _error(line: dict[str, Any], number: int) -> Failure:
    message = str(line.get("message", ""))
    if _FULL.search(message):
        return Failure(round=number, kind="disk_full", message=_disk_full(message))
    return Failure(
        round=number,
        kind="model" if line.get("kind") == "model" else "error",
        message=f"The runner could not do it: {message}; export the bundle again, or report it.",
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
    kind, message = _reason(line)
    return Failure(round=number, kind=kind, message=message)


def _reason(line: dict[str, Any]) -> tuple[str, str]:
    """Kind and sentence for a run of the runner that did not end with status 0."""
    signal, stderr = line["signal"], str(line["stderr"]).strip()
    if line["timed_out"]:
        return "hang", (
            f"A repetition did not end within {line['seconds']:.0f} s and was killed; allow more "
            "with --timeout, or look at what else the device does."
        )
    if signal == _SIGXFSZ or _FULL.search(stderr):
        return "disk_full", _disk_full(stderr)
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


def _disk_full(evidence: str) -> str:
    return (
        f"The phone's disk is full ({evidence[-120:]}); free some space there, or run "
        "`imp-deploy bench --clean`, and run the same command again."
    )
