"""Writes jobs for the native runner and reads its results."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from gguf import GGUFReader

PROMPT = "USER: <image>\nWhat is in the picture? ASSISTANT:"

Value: TypeAlias = str | int | Path
Line: TypeAlias = dict[str, Any]


def encode(value: Value) -> str:
    """A value as it stands in a job: `%` and control characters percent-encoded."""
    return "".join(
        f"%{ord(c):02X}" if c == "%" or ord(c) < 32 or ord(c) == 127 else c for c in str(value)
    )


def render(job: Sequence[tuple[str, Value]], steps: Sequence[Mapping[str, Value]]) -> str:
    """The text of a job file."""
    lines = ["imp-job 1", *(f"{key} {encode(value)}" for key, value in job)]
    for step in steps:
        lines += ["step", *(f"{key} {encode(value)}" for key, value in step.items())]
    return "\n".join(lines) + "\n"


def read_results(path: Path) -> list[Line]:
    """The lines of a results file; every one must be complete and valid JSON."""
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n") or not text
    return [json.loads(line) for line in text.splitlines()]


@dataclass(frozen=True, kw_only=True)
class Runner:
    """The program, a bundle to run, and a folder for what the runs need and leave."""

    binary: Path
    bundle: Path
    folder: Path

    @property
    def _files(self) -> list[dict[str, Any]]:
        files: list[dict[str, Any]] = json.loads((self.bundle / "bundle.json").read_text())["files"]
        return files

    @property
    def visual_tokens(self) -> dict[int, int]:
        """Per image side of the bundle, in pixels, the number of visual tokens."""
        return {f["resolution"]: f["visual_tokens"] for f in self._files if f["role"] == "vision"}

    @property
    def side(self) -> int:
        """The smallest image side of the bundle, the quickest to run."""
        return min(self.visual_tokens)

    @property
    def llm(self) -> Path:
        """The 16-bit LLM."""
        llms = (f for f in self._files if f["role"] == "llm")
        return self.bundle / str(next(f["path"] for f in llms if f["bits"] == 16))

    def favouring(self, text: str | None, by: float) -> Path:
        """A copy of the LLM whose logit of one token, the one of this text in the vocabulary or
        (None) the one that ends an answer, is higher by so much than it was."""
        path = self.folder / f"favouring-{text}.gguf"
        path.write_bytes(self.llm.read_bytes())
        reader = GGUFReader(path, "r+")
        if text is None:
            token = int(reader.fields["tokenizer.ggml.eos_token_id"].contents())
        else:
            token = reader.fields["tokenizer.ggml.tokens"].contents().index(text)
        bias = next(tensor for tensor in reader.tensors if tensor.name == "output.bias")
        bias.data[token] += by
        reader.data.flush()
        return path

    def job(self, side: int | None = None, **settings: Value) -> list[tuple[str, Value]]:
        """The job-level keys for the 16-bit LLM and the mmproj of `side` (default: the smallest).

        One thread: these models are too small for more, and the results must repeat.
        """
        wanted = side or self.side
        vision = (f for f in self._files if f["role"] == "vision")
        mmproj = next(f for f in vision if f["resolution"] == wanted)
        keys: dict[str, Value] = {"model": self.llm, "mmproj": self.bundle / mmproj["path"]}
        return list({**keys, "threads": 1, **settings}.items())

    def step(self, id: str, image: Path, **keys: Value) -> dict[str, Value]:
        """A step that looks at `image` and generates 8 tokens, unless `keys` say otherwise."""
        step: dict[str, Value] = {
            "id": id,
            "image": image,
            "prompt": PROMPT,
            "side": self.side,
            "mode": "squash",
        }
        return {**step, "max_tokens": 8, **keys}

    def start(self, text: str, out: Path) -> subprocess.Popen[str]:
        """Starts the program on a job of this text."""
        job = self.folder / "job.txt"
        job.write_text(text, encoding="utf-8")
        return subprocess.Popen([self.binary, job, out], stderr=subprocess.PIPE, text=True)

    def run(
        self,
        steps: Sequence[Mapping[str, Value]],
        job: Sequence[tuple[str, Value]] | None = None,
        out: Path | None = None,
    ) -> list[Line]:
        """Runs the steps, which must end with exit status 0, and reads all of the results."""
        results = out or self.folder / "results.jsonl"
        if out is None:
            results.unlink(missing_ok=True)
        process = self.start(render(self.job() if job is None else job, steps), results)
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        assert stderr == ""
        return read_results(results)

    def fail(self, text: str, out: Path | None = None) -> str:
        """Runs a job that cannot be run: exit status 3. The one sentence on stderr."""
        process = self.start(text, out or self.folder / "failed.jsonl")
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 3, stderr
        assert stderr.count("\n") == 1
        return stderr
