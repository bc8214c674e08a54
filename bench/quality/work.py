"""Lets the runner answer batches with one loading of the model, and reads them while it goes on.

The pictures of a batch are brought when the batch before the last has been read, and the runner
waits for pictures: so no more than two batches of raw logits lie on the disk, however slow we are.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from imp_deploy import process, prompt, runner
from imp_deploy.bench.evaluate.pictures import ppm
from imp_deploy.bench.quality.batches import Asked, Batch
from imp_deploy.bench.quality.pairs import Side
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.files import full_disk_is_bad_input, write_atomic
from imp_deploy.runner import Answer, Job, Step

_WAIT: Final = 120  # seconds after which a runner whose parent was killed ends
_POLL: Final = 0.02  # seconds

Force = Callable[[Batch], Sequence[tuple[int, ...]]]
# Takes a batch, its answers, and the folder with what the runner wrote about it, see `logits` and
# `embeddings`.
Read = Callable[[Batch, Sequence[Answer], Path], None]


def logits(folder: Path, place: int) -> Path:
    """Of the question at `place` of the batch."""
    return folder / f"{place}.logits"


def embeddings(folder: Path, sha256: str) -> Path:
    """Of the picture."""
    return folder / f"{sha256}.embeddings"


def carry_out(
    binary: Path,
    side: Side,
    pending: Sequence[Batch],
    scratch: Path,
    read: Read,
    *,
    max_tokens: int,
    threads: int,
    advance: Callable[[int], None],
    force: Force | None = None,
) -> None:
    """Asks `side` all questions of `pending`, and hands each batch to `read`, in order. `force`:
    the answers that are forced upon it, one per question of a batch. `scratch`: an empty folder,
    which is left empty."""
    if not pending:
        return
    job = Job(
        model=side.files[0],
        mmproj=side.files[1],
        stop=side.bundle.prompt.stop,
        threads=threads,
        wait=_WAIT,
        reuse=True,
        keep_text=True,
        steps=tuple(
            step
            for batch in pending
            for step in _steps(side, batch, _folder(scratch, batch), max_tokens, force)
        ),
    )
    paths = [scratch / name for name in ("job.txt", "results.jsonl", "stderr.txt")]
    with full_disk_is_bad_input(scratch):
        paths[0].write_text(runner.job_text(job), encoding="utf-8")
        with paths[2].open("wb") as stderr:
            argv = [str(path) for path in (binary, *paths[:2])]
            program = process.start(argv, environment=None, stderr=stderr.fileno())
    results = _Results(program, paths[1], paths[2], advance)
    try:
        brought = 0
        for place, batch in enumerate(pending):
            while brought < min(place + 2, len(pending)):
                _bring(pending[brought], _folder(scratch, pending[brought]))
                brought += 1
            answers = [
                _answer(results, step_id, entry)
                for step_id, entry in zip(_ids(batch), batch.asked, strict=True)
            ]
            read(batch, answers, _folder(scratch, batch))
            shutil.rmtree(_folder(scratch, batch))
    finally:
        program.kill()
        program.wait()
        for path in paths:
            path.unlink(missing_ok=True)


def _folder(scratch: Path, batch: Batch) -> Path:
    return scratch / str(batch.index)


def _ids(batch: Batch) -> list[str]:
    return [f"{batch.index}-{place}" for place in range(len(batch.asked))]


def _picture(folder: Path, sha256: str) -> Path:
    return folder / f"{sha256}.ppm"


def _steps(
    side: Side, batch: Batch, folder: Path, max_tokens: int, force: Force | None
) -> list[Step]:
    forced = force(batch) if force is not None else [None] * len(batch.asked)
    first = {id(asked) for asked in batch.pictures.values()}
    return [
        Step(
            id=step_id,
            prompt=prompt.ask(side.bundle.prompt, asked.question.id, asked.question.text),
            max_tokens=max_tokens if answer is None else len(answer),
            force=answer,
            image=_picture(folder, asked.sha256),
            side=side.resolution,
            mode=side.bundle.preprocess.mode,
            logits=logits(folder, place),
            embeddings=embeddings(folder, asked.sha256) if id(asked) in first else None,
        )
        for place, (step_id, asked, answer) in enumerate(
            zip(_ids(batch), batch.asked, forced, strict=True)
        )
    ]


def _bring(batch: Batch, folder: Path) -> None:
    """Writes the pictures of a batch, each whole or not at all: the runner may be waiting."""
    with full_disk_is_bad_input(folder):
        folder.mkdir()
    for sha256, asked in batch.pictures.items():
        content = ppm(asked.question.picture)
        if len(content) != asked.bytes:
            raise BadInput(
                f"The picture {asked.question.picture.key} was changed while it was in use; run "
                "the same command again."
            )
        write_atomic(_picture(folder, sha256), content)


def _answer(results: _Results, step_id: str, asked: Asked) -> Answer:
    try:
        return runner.answer_for({step_id: results.wait(step_id)}, step_id)
    except BadInput as error:
        raise BadInput(
            f"The question {asked.question.id} cannot be asked ({error}); leave it out, or give a "
            "smaller --max-tokens."
        ) from None


class _Results:
    """The lines of results, as the runner appends them."""

    def __init__(
        self,
        program: subprocess.Popen[bytes],
        path: Path,
        stderr: Path,
        advance: Callable[[int], None],
    ) -> None:
        self._program = program
        self._path = path
        self._stderr = stderr
        self._advance = advance
        self._position = 0
        self._records: dict[str, dict[str, object]] = {}

    def wait(self, step_id: str) -> dict[str, object]:
        """The record of a step, once it is there."""
        while step_id not in self._records:
            ended = self._program.poll() is not None  # asked before the last look
            if self._look() == 0:
                if ended:
                    raise DeviceError(f"The runner failed: {self._evidence()}")
                time.sleep(_POLL)
        return self._records.pop(step_id)

    def _look(self) -> int:
        """Takes what is new, and says how many lines that was."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                new = file.read()
        except FileNotFoundError:  # the runner has not come so far
            return 0
        whole = new[: new.rfind(b"\n") + 1]
        self._position += len(whole)
        records = runner.parse_results(whole.decode("utf-8"))
        self._records.update(records)
        self._advance(len(records))
        return len(records)

    def _evidence(self) -> str:
        text = self._stderr.read_text("utf-8", "replace")
        argv = tuple(str(part) for part in self._program.args)  # type: ignore[union-attr]
        return process.Finished(argv, self._program.returncode, "", text).evidence()
