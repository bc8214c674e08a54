"""MM-Vet: open questions, which GPT-4 grades elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from imp_deploy.bench.tasks import files
from imp_deploy.bench.tasks.task import Loaded, Question, Task

_NAMES = ("mm-vet.json", "mm-vet/mm-vet.json")
_LLAVA = ("llava-mm-vet.jsonl", "mm-vet/llava-mm-vet.jsonl")
_IMAGES = ("images", "mm-vet/images")


def read(data: Path, split: str | None) -> Loaded:
    """The authors' file, or else LLaVA's of the same questions; the ids are the authors'."""
    split = files.split_of(split, ("test",), files.folder(data))
    path = files.first(data, (*_NAMES, *_LLAVA), "question file of MM-Vet")
    questions = _llava(data, path) if path.suffix == ".jsonl" else _official(data, path)
    return Loaded(split, files.checked(questions, path))


def _official(data: Path, path: Path) -> list[Question]:
    questions = []
    for id, entry in files.keyed(path).items():
        where = f"{path}: question {id}"
        skills = entry.get("capability", [])
        name = files.value(entry, "imagename", str, where)
        questions.append(
            Question(
                id=id,
                text=files.value(entry, "question", str, where),
                picture=files.picture(data, _IMAGES, name, where),
                truth=None,
                stratum="+".join(map(str, skills)) if isinstance(skills, list) else "",
            )
        )
    return questions


def _llava(data: Path, path: Path) -> list[Question]:
    questions = []
    for number, entry in enumerate(files.objects(path), start=1):
        where = f"{path}: entry {number}"
        name = files.value(entry, "image", str, where)
        questions.append(
            Question(
                id=f"v1_{files.value(entry, 'question_id', int, where)}",
                text=files.value(entry, "text", str, where),
                picture=files.picture(data, _IMAGES, name, where),
                truth=None,
            )
        )
    return questions


def submission(answers: Sequence[tuple[Question, str]]) -> tuple[str, bytes]:
    """What the authors' grader takes: a JSON object of answers by id."""
    value = {question.id: answer for question, answer in answers}
    return "mm-vet.json", (json.dumps(value, indent=2) + "\n").encode()


TASK = Task(
    name="mmvet",
    title="MM-Vet",
    metric="GPT-4 score",
    data="mm-vet.json and images/ of MM-Vet",
    source="MM-Vet's grader, and LLaVA, llava/eval/model_vqa.py",
    max_tokens=1024,
    read=read,
    mark=None,
    submission=submission,
    published={"test": (218,)},
)
