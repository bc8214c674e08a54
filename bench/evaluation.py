"""What an evaluation costs beside the model's own work: `imp-deploy eval` of the 500 demo questions
on this machine, from its start to its end, against the sum of the phase times that the runner
measured.

`python -m imp_deploy.bench.evaluation BUNDLE` says it for several runs, and the median of the
ratio, which shall not be above 1.1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from imp_deploy import process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--bits", default="4")
    parser.add_argument("--resolution", default="196")
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    ratios = []
    for number in range(asked.runs + 1):
        whole, phases = _evaluate(asked.bundle, asked.bits, asked.resolution)
        if number > 0:  # the first run warms the caches
            ratios.append(whole / phases)
            print(f"eval {whole:.2f} s, phases {phases:.2f} s, ratio {ratios[-1]:.4f}", flush=True)
    low, high = min(ratios), max(ratios)
    middle = statistics.median(ratios)
    print(f"median ratio of {asked.runs} runs: {middle:.4f} ({low:.4f} to {high:.4f})")


def _evaluate(bundle: Path, bits: str, resolution: str) -> tuple[float, float]:
    """Seconds of the whole program, and of all phases of all answers."""
    with tempfile.TemporaryDirectory() as out:
        argv = ["eval", str(bundle), "--task", "demo", "--out", out, "--json"]
        argv += ["--bits", bits, "--resolution", resolution]
        began = time.monotonic()
        finished = process.run([sys.executable, "-m", "imp_deploy", *argv])
        whole = time.monotonic() - began
    if finished.returncode != 0:
        raise SystemExit(finished.evidence())
    (evaluation,) = json.loads(finished.stdout)["evaluations"]
    return whole, evaluation["seconds"]


if __name__ == "__main__":
    main()
