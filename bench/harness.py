"""What the harness costs: T_total of the bare runner against T_total as `bench` measures it.

`python -m imp_deploy.bench.harness BUNDLE` runs both on this machine by turns: the runner alone on
a job without sampling, and the whole harness (supervisor, sampling, polling). The claim is that
the harness adds less than 2 % to the median.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path

from imp_deploy import process, runner
from imp_deploy.bench import plan
from imp_deploy.bench.carry_out import Shown
from imp_deploy.bench.discover import connected
from imp_deploy.bench.measure import measure
from imp_deploy.bench.programs import program_for
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings
from imp_deploy.bench.store import folder as store_folder
from imp_deploy.bench.subject import prepare
from imp_deploy.progress import Unseen
from imp_deploy.results import Result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--resolution", type=int, default=196)
    parser.add_argument("--tokens", type=int, default=1000, help="generated; seconds of work")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mask", default="1", help="cores, hexadecimal")
    parser.add_argument("--runs", type=int, default=7)
    asked = parser.parse_args()
    settings = Settings(
        bits=(asked.bits,),
        resolutions=(asked.resolution,),
        generated_tokens=asked.tokens,
        warmups=0,
        repetitions=1,
        threads=asked.threads,
        cpu_mask=asked.mask,
    )
    whole, bare = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(asked.runs + 1):
            result = _harness(asked.bundle, settings, Path(scratch))
            alone = _bare(asked.bundle, settings, result, Path(scratch))
            if number > 0:  # the first round warms the caches
                whole.append(result.samples[0].seconds.total)
                bare.append(alone)
                print(f"harness {whole[-1]:.3f} s, runner alone {bare[-1]:.3f} s", flush=True)
    ratio = statistics.median(whole) / statistics.median(bare)
    print(
        f"median of {asked.runs}: harness {statistics.median(whole):.3f} s, runner alone "
        f"{statistics.median(bare):.3f} s, ratio {ratio:.4f}"
    )


def _harness(bundle: Path, settings: Settings, scratch: Path) -> Result:
    shown = Shown(pushing=Unseen(), measuring=Unseen(), say=print)
    with connected("host") as device:
        session = Session(device, print)
        subject = prepare(bundle, settings)
        measured = measure(session, subject, settings, out=scratch, force=True, shown=shown)
    (result,) = measured.files.values()
    return result


def _bare(bundle: Path, settings: Settings, result: Result, scratch: Path) -> float:
    """Seconds of T_total of the runner on the same job, without sampling, started by itself."""
    subject = prepare(bundle, settings)
    with connected("host") as device:
        where = Path(store_folder(device))
    places = {f.sha256: str(where / f.sha256) for f in subject.files}
    places[subject.picture_sha256] = str(where / subject.picture_sha256)
    (repetition,) = plan.order(subject.variants, 1)
    unsampled = dataclasses.replace(result.protocol, sample_milliseconds=0)
    text = plan.job_text(repetition, unsampled, subject.bundle, subject.filled, places)
    job, out = scratch / "job.txt", scratch / "bare.jsonl"
    job.write_text(text)
    out.unlink(missing_ok=True)
    program = program_for(result.device, Unseen())
    finished = process.run([str(program.path), str(job), str(out)])
    if finished.returncode != 0:
        raise SystemExit(finished.evidence())
    total: float = runner.parse_results(out.read_text())[repetition.id]["seconds"]["total"]
    return total


if __name__ == "__main__":
    main()
