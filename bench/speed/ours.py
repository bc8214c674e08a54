"""Our side of a measurement: one run of the runner on this machine, in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from imp_deploy import process, runner
from imp_deploy.build.host import build_host
from imp_deploy.errors import DeviceError

Kernels = Literal["fast", "stock"]


def answers(job: runner.Job, kernels: Kernels = "fast") -> Sequence[runner.Answer]:
    """The answers of all steps of `job`. With `stock` kernels the libraries that pip installed do
    everything as they would by themselves."""
    text = runner.job_text(job)
    if kernels == "stock":
        header, rest = text.split("\n", 1)
        text = f"{header}\nkernels stock\n{rest}"
    with tempfile.TemporaryDirectory() as scratch:
        job_file, results = Path(scratch) / "job.txt", Path(scratch) / "results.jsonl"
        job_file.write_text(text, "utf-8")
        finished = process.run([str(build_host()), str(job_file), str(results)])
        if finished.returncode != 0:
            raise DeviceError(f"The runner failed: {finished.evidence()}")
        records = runner.parse_results(results.read_text("utf-8"))
    return [runner.answer_for(records, step.id) for step in job.steps]
