"""The demo checkpoint's own task: drawn scenes that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from imp_deploy.bench.tasks.task import Loaded, Question, Task
from imp_deploy.demo import scenes
from imp_deploy.errors import BadInput

QUESTIONS = 500


@dataclass(frozen=True)
class DrawnPicture:
    """A held-out scene."""

    index: int

    @property
    def key(self) -> str:
        return f"scene-{self.index}"

    def digest(self) -> str:
        return self.key  # it is drawn from its number

    def load(self) -> Image.Image:
        return scenes.draw(scenes.scene_at("test", self.index))


def read(_data: Path, split: str | None) -> Loaded:
    """The same 500 questions always, a quarter of each kind."""
    if split not in (None, "test"):
        raise BadInput(f"The demo task has no split {split!r}, only test.")
    return Loaded(
        "test",
        tuple(
            Question(
                id=f"scene-{index}",
                text=question.text,
                picture=DrawnPicture(index),
                truth=question.answer,
                stratum=question.kind,
            )
            for index, question in scenes.held_out(QUESTIONS)
        ),
    )


def mark(question: Question, answer: str) -> tuple[float, str]:
    """The one right word, whatever its case, and nothing else."""
    read = answer.strip().lower()
    return float(read == question.truth), read


TASK = Task(
    name="demo",
    title="Demo scenes",
    metric="accuracy",
    data="nothing: the scenes are drawn",
    source="imp_deploy/demo/scenes.py",
    max_tokens=8,
    read=read,
    mark=mark,
    needs_data=False,
)
