"""What is read from the device's files: every finished sample counts, every failure has a name."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from imp_deploy import bundle as bundles
from imp_deploy.bench import outcome, plan
from imp_deploy.bench.plan import Repetition
from imp_deploy.bundle import Variant
from imp_deploy.results import Conditions
from tests.bench.report import made


def variant(bits: int, resolution: int = 196) -> Variant:
    common = {"type": "F16", "bytes": 1, "sha256": "0" * 64}
    return Variant(
        llm=bundles.BundleFile(path=f"{bits}.gguf", role="llm", bits=bits, **common),  # type: ignore[arg-type]
        vision=bundles.BundleFile(
            path="v.gguf",
            role="vision",
            bits=16,
            resolution=resolution,
            visual_tokens=196,
            **common,  # type: ignore[arg-type]
        ),
    )


NOTE = """@@imp power
  mWakefulness=Awake
@@imp battery
  level: 55
  status: 3
@@imp saver
1
"""
REPETITIONS = plan.order([variant(8), variant(4)], 3)


def result_line(run: Repetition, **other: Any) -> dict[str, Any]:
    """As the runner writes it."""
    sample = dataclasses.asdict(made.result().samples[1])
    for name in ("round", "warmup", "rested_seconds", "rest_reached", "conditions"):
        del sample[name]
    return {"step": run.id, "status": "ok", "text": "x", "stop": "length", **sample, **other}


def started(run: Repetition) -> dict[str, Any]:
    return {
        "run": run.id,
        "status": "started",
        "uptime": 1.0,
        "rested_seconds": 7.5,
        "rest_reached": True,
        "celsius": 39.0,
        "note": NOTE,
    }


def ended(run: Repetition, **other: Any) -> dict[str, Any]:
    how = {"exit": 0, "signal": None, "timed_out": False, "stderr": ""}
    return {"run": run.id, "status": "ended", "uptime": 2.0, "seconds": 12.0, **how, **other}


def lines(*values: dict[str, Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def read(log: str, results: str = "") -> outcome.Outcome:
    return outcome.read([log], results, REPETITIONS, 1)


def test_every_round_holds_every_variant_and_another_one_is_first() -> None:
    rounds = [[r.group for r in REPETITIONS if r.round == n] for n in range(3)]
    assert rounds == [["8-196-16", "4-196-16"], ["4-196-16", "8-196-16"], ["8-196-16", "4-196-16"]]


def test_a_sample_holds_what_both_files_say() -> None:
    run = REPETITIONS[2]
    now = read(lines(started(run), ended(run)), lines(result_line(run)))
    sample = now.samples[run.id]
    assert (sample.round, sample.warmup) == (1, False)
    assert (sample.rested_seconds, sample.rest_reached) == (7.5, True)
    assert sample.conditions == Conditions(
        screen_on=True, battery_percent=55, charging=False, battery_saver=True
    )
    assert sample.seconds == made.result().samples[1].seconds
    assert not now.failures


def test_a_line_that_is_still_being_written_is_left_for_later() -> None:
    first, second = REPETITIONS[:2]
    text = lines(result_line(first)) + lines(result_line(second))[:200]
    assert list(read("", text).samples) == [first.id]


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ({"exit": None, "signal": 9}, "killed"),
        ({"exit": None, "signal": 4}, "illegal_instruction"),
        ({"exit": None, "signal": 11}, "crashed"),
        ({"exit": None, "signal": 9, "timed_out": True}, "hang"),
        ({"exit": None, "signal": 25}, "disk_full"),
        ({"exit": 3, "stderr": "cannot write the results r: No space left on device"}, "disk_full"),
        ({"exit": 3, "stderr": "cannot write the results r: File too large"}, "disk_full"),
        ({"exit": 3, "stderr": "cannot open the job"}, "error"),
    ],
)
def test_each_end_has_its_name_and_the_others_keep_their_samples(
    how: dict[str, Any], kind: str
) -> None:
    first, second = REPETITIONS[:2]
    now = read(
        lines(started(first), ended(first), started(second), ended(second, **how)),
        lines(result_line(first)),
    )
    assert now.failures[second.id].kind == kind
    assert list(now.samples) == [first.id]


def test_a_later_success_outweighs_an_earlier_failure() -> None:
    run = REPETITIONS[0]
    log = lines(started(run), ended(run, exit=None, signal=9), started(run), ended(run))
    assert not read(log, lines(result_line(run))).failures


def test_a_model_that_cannot_be_loaded_fails_its_own_run_only() -> None:
    first, second = REPETITIONS[:2]
    message = "cannot load the model m"
    broken = {"step": first.id, "status": "error", "kind": "model", "message": message}
    log = lines(started(first), ended(first, exit=3, stderr="imp-runner: x"), started(second))
    now = read(log, lines(broken))
    assert [(run, failure.kind) for run, failure in now.failures.items()] == [(first.id, "model")]
    assert message in now.failures[first.id].message


def test_what_it_does_now() -> None:
    first, second = REPETITIONS[:2]
    resting = {"run": second.id, "status": "resting", "celsius": 43.5, "uptime": 3.0}
    assert read(lines(started(first))).current == first.id
    now = read(lines(started(first), ended(first), resting))
    assert (now.current, now.resting, now.finished) == (second.id, 43.5, False)
    assert read(lines({"status": "finished", "uptime": 4.0})).finished


def test_an_earlier_attempts_end_is_not_the_present_ones() -> None:
    log = lines({"status": "finished", "uptime": 4.0})
    assert not outcome.read([log, ""], "", REPETITIONS, 1).finished


def test_a_damaged_line_costs_its_own_repetition_only() -> None:
    first, second = REPETITIONS[:2]
    text = lines(result_line(first)) + "\0" * 100 + "\n{nonsense\n[]\n" + lines(result_line(second))
    assert list(read("", text).samples) == [first.id, second.id]


def test_a_context_that_is_too_small_names_the_option() -> None:
    run = REPETITIONS[0]
    error = {"step": run.id, "status": "error", "kind": "context", "message": "needs 9 positions"}
    assert "--max-tokens" in read("", lines(error)).failures[run.id].message
