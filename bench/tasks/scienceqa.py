"""ScienceQA-IMG: the questions of ScienceQA's test split that come with a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imp_deploy.bench.tasks import files, letters, suffixes
from imp_deploy.bench.tasks.task import Loaded, Question, Task
from imp_deploy.errors import BadInput

_SPLITS = ("test", "val", "train")
_CURE = "download it again"


def read(data: Path, split: str | None) -> Loaded:
    """The problems of the split that have a picture, in the split's order. Prompts are LLaVA's own
    where its file is there, and made the same way where not."""
    files.folder(data)
    splits_path = files.first(data, ("pid_splits.json",), "pid_splits.json of ScienceQA")
    path = files.first(data, ("problems.json",), "problems.json of ScienceQA")
    splits = files.document(splits_path)
    there = [name for name in _SPLITS if name in splits]
    if not there:
        raise BadInput(f"{splits_path} names none of {', '.join(_SPLITS)}; {_CURE}.")
    split = files.split_of(split, there, splits_path)
    problems = _with_picture(splits_path, splits[split], path, files.keyed(path))
    prompts_path = data / f"llava_{split}_CQM-A.json"
    prompts = _llava(prompts_path, path, problems) if prompts_path.exists() else None
    questions = files.checked(
        (
            _question(data, split, path, id, problem, prompts[id] if prompts else None)
            for id, problem in problems
        ),
        splits_path,
    )
    return Loaded(split, questions)


def _with_picture(
    splits_path: Path, ids: Any, path: Path, problems: dict[str, dict[str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise BadInput(f"{splits_path} holds a split that is no list of ids; {_CURE}.")
    found = []
    for id in ids:
        problem = problems.get(id)
        if problem is None:
            raise BadInput(
                f"{splits_path} names the problem {id}, which {path} does not hold; download both "
                "again."
            )
        if problem.get("image"):
            found.append((id, problem))
    return found


def _question(
    data: Path, split: str, path: Path, id: str, problem: dict[str, Any], prompt: str | None
) -> Question:
    where = f"{path}: problem {id}"
    if problem.get("split") != split:
        raise BadInput(
            f"{where} is of the split {problem.get('split')!r}, not {split!r} as pid_splits.json "
            "says; download both again."
        )
    choices = files.value(problem, "choices", list, where)
    if not 2 <= len(choices) <= len(letters.LETTERS) or not all(
        isinstance(choice, str) for choice in choices
    ):
        raise BadInput(f"{where} has no usable `choices`; {_CURE}.")
    answer = files.value(problem, "answer", int, where)
    if not 0 <= answer < len(choices):
        raise BadInput(f"{where} has the answer {answer}, which is none of its options; {_CURE}.")
    name = files.value(problem, "image", str, where)
    if prompt is None:
        hint = files.value(problem, "hint", str, where).strip()
        context = f"Context: {hint}\n" if hint else ""
        text = files.value(problem, "question", str, where)
        prompt = f"{context}{text}\n{letters.shown(choices)}".strip()
    return Question(
        id=id,
        text=suffixes.with_suffix(prompt, suffixes.LETTER),
        picture=files.picture(data, (f"images/{split}", split), f"{id}/{name}", where),
        truth=letters.LETTERS[answer],
        stratum=str(problem.get("subject", "")),
    )


def _llava(
    path: Path, problems_path: Path, problems: list[tuple[str, dict[str, Any]]]
) -> dict[str, str]:
    """LLaVA's prompts by id, without the place of the picture. They must be of the same questions
    with the same answers."""
    prompts: dict[str, str] = {}
    answers: dict[str, str] = {}
    for entry in files.objects(path):
        id = files.value(entry, "id", str, f"{path}: an entry")
        if "image" not in entry:
            continue
        if id in prompts:
            raise BadInput(f"{path} holds the question {id} twice; {_CURE}.")
        turns = files.value(entry, "conversations", list, f"{path}: question {id}")
        said = [turn.get("value") for turn in turns if isinstance(turn, dict)]
        texts = [text.strip() for text in said if isinstance(text, str)]
        if len(texts) != 2 or len(turns) != 2:
            raise BadInput(f"{path}: question {id} has no usable `conversations`; {_CURE}.")
        prompts[id] = texts[0].replace("<image>", "").strip()
        answers[id] = texts[1]
    files.same_ids(path, prompts, problems_path, dict(problems))
    places = {letter: place for place, letter in enumerate(letters.LETTERS)}
    for id, problem in problems:
        if places.get(answers[id]) != problem.get("answer"):
            raise BadInput(
                f"{path} and problems.json disagree about the answer to {id}; download both again, "
                "or move LLaVA's file away."
            )
    return prompts


def mark(question: Question, answer: str) -> tuple[float, str]:
    """Right with the right letter."""
    letter = letters.direct(answer)
    return float(letter == question.truth), letter


TASK = Task(
    name="scienceqa",
    title="ScienceQA-IMG",
    metric="accuracy",
    data="problems.json, pid_splits.json and images/test/ of ScienceQA",
    source="LLaVA, llava/eval/model_vqa_science.py and eval_science_qa.py",
    max_tokens=128,  # LLaVA allows 1024, which no answer to such a prompt needs
    read=read,
    mark=mark,
    published={"test": (2_017,), "val": (2_097,), "train": (6_218,)},
)
