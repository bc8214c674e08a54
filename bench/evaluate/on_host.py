"""Answers questions on this machine: the model is loaded once, and pictures are prepared while it
computes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from imp_deploy import process, runner
from imp_deploy.bench.evaluate.job import Subject, job_for
from imp_deploy.bench.evaluate.pictures import Asked, pictures, ppm
from imp_deploy.bench.evaluate.taken import OnAnswers, Taken
from imp_deploy.errors import DeviceError
from imp_deploy.files import full_disk_is_bad_input
from imp_deploy.runner import Job

_AHEAD_BYTES = 256 << 20
_AHEAD_AT_ONCE = 8
_POLL_SECONDS = 0.02


def ask(
    binary: Path,
    folder: Path,
    subject: Subject,
    asked: Sequence[Asked],
    on_answers: OnAnswers,
) -> None:
    """Answers all of `asked`, which come as `in_order` has them; `folder` is the bundle's.
    `on_answers` gets them as they come. A question that is `Unanswerable` ends it; a runner that
    fails is a `DeviceError`."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        job = job_for(
            subject,
            asked,
            model=(folder / subject.variant.llm.path).absolute(),
            mmproj=(folder / subject.variant.vision.path).absolute(),
            picture=lambda number: place / str(number),
        )
        carry_out(binary, job, asked, place, on_answers)


def carry_out(
    binary: Path, job: Job, asked: Sequence[Asked], place: Path, on_answers: OnAnswers
) -> None:
    """As `ask`, with a job whose pictures are at `place / NUMBER`; `place` is an empty folder. Does
    not wait for the runner's end once all answers are there, unless it has sums to write then."""
    with full_disk_is_bad_input(place):
        (place / "job.txt").write_text(runner.job_text(job), encoding="utf-8")
    results = place / "results.jsonl"
    results.touch()
    argv = [str(binary), str(place / "job.txt"), str(results)]
    with (place / "stderr").open("wb") as errors, results.open("rb") as lines:
        started = process.start(argv, environment=None, stderr=errors.fileno())
        try:
            taken = Taken(asked, on_answers)
            window = _Window(place, asked)
            while True:
                ended = started.poll() is not None  # before the last look at its lines
                taken.take(lines.read())
                with full_disk_is_bad_input(place):
                    window.fill(taken.picture)
                if ended or (len(taken.seen) == len(asked) and job.imatrix is None):
                    break
                time.sleep(_POLL_SECONDS)
        finally:
            started.kill()
            started.wait()
    if len(taken.seen) < len(asked) or (job.imatrix is not None and started.returncode != 0):
        said = (place / "stderr").read_text("utf-8", "replace")[-2000:].strip()
        raise DeviceError(
            f"The runner failed (status {started.returncode}) after {len(taken.seen)} of "
            f"{len(asked)} questions; run the same command again to go on. {said}"
        )


class _Window:
    """Pictures a while before they are needed, and not longer than that: a benchmark's are more
    than memory and disk hold."""

    def __init__(self, place: Path, asked: Sequence[Asked]) -> None:
        self._place = place
        self._waiting = iter(pictures(asked).items())
        self._sizes: dict[int, int] = {}

    def fill(self, current: int) -> None:
        """`current`: the picture of the latest answer, which the next may be about."""
        for number in [n for n in self._sizes if n < current]:
            del self._sizes[number]
            (self._place / str(number)).unlink()
        while sum(self._sizes.values()) < _AHEAD_BYTES:
            number, picture = next(self._waiting, (0, None))
            if picture is None:
                break
            content = ppm(picture)
            beside = self._place / "picture.partial"
            beside.write_bytes(content)
            beside.rename(self._place / str(number))
            self._sizes[number] = len(content)
            if len(self._sizes) > _AHEAD_AT_ONCE:  # there are answers to be taken
                break
