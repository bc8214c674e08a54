"""POPE: does the model see objects that are not there? Three ways to choose the absent objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from imp_deploy.bench.tasks import files, suffixes
from imp_deploy.bench.tasks.task import FilePicture, Loaded, Marked, Question, Task, Totals
from imp_deploy.errors import BadInput

WAYS = ("random", "popular", "adversarial")
_FOLDERS = ("coco", ".", "output/coco")  # in LLaVA's layout, bare, and in the authors' repository
_NO = frozenset(("No", "not", "no"))


def read(data: Path, split: str | None) -> Loaded:
    """All three files, one after the other; the way is the stratum."""
    files.split_of(split, ("test",), files.folder(data))
    paths = {way: files.optional(data, _names(way)) for way in WAYS}
    lacking = [f"coco_pope_{way}.json" for way, path in paths.items() if path is None]
    if lacking:
        raise BadInput(
            f"{data} lacks {' and '.join(lacking)} of POPE's three files (looked in coco/ too); "
            "download them there, the score is the mean over all three."
        )
    pictures: dict[str, FilePicture] = {}
    questions: list[Question] = []
    for way, path in paths.items():
        assert path is not None
        questions += files.checked(_questions(data, way, path, pictures), path)
    _distinct(paths, questions)
    return Loaded("test", tuple(questions))


def _distinct(paths: dict[str, Path | None], questions: list[Question]) -> None:
    """The files do not say which they are; the same one under two names is noticed here."""
    contents: dict[tuple[tuple[str, str], ...], str] = {}
    for way, path in paths.items():
        content = tuple((q.picture.key, q.text) for q in questions if q.stratum == way)
        other = contents.setdefault(content, way)
        if other != way:
            raise BadInput(
                f"{path} holds the same questions as coco_pope_{other}.json; download both again."
            )


def _names(way: str) -> list[str]:
    return [f"{folder}/coco_pope_{way}.json" for folder in _FOLDERS]


def _questions(
    data: Path, way: str, path: Path, pictures: dict[str, FilePicture]
) -> list[Question]:
    questions = []
    for number, entry in enumerate(files.line_objects(path), start=1):
        where = f"{path}: entry {number}"
        id = files.value(entry, "question_id", (int, str), where)
        label = files.value(entry, "label", str, where)
        if label not in ("yes", "no"):
            raise BadInput(f"{where} has the label {label!r}, not yes or no; download it again.")
        name = files.value(entry, "image", str, where)
        if name not in pictures:  # six questions in each file are about the same picture
            pictures[name] = files.picture(data, ("val2014",), name, where)
        questions.append(
            Question(
                id=f"{way}-{id}",
                text=suffixes.with_suffix(files.value(entry, "text", str, where), suffixes.SHORT),
                picture=pictures[name],
                truth=label,
                stratum=way,
            )
        )
    return questions


def mark(question: Question, answer: str) -> tuple[float, str]:
    """LLaVA's reading, which is the authors': of the text before the first full stop, without
    commas; "no" if one of its words is No, no or not, else "yes", whatever it says."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    said = "no" if _NO.intersection(words) else "yes"
    return float(said == question.truth), said


def total(marked: Sequence[Marked]) -> Totals:
    """The mean F1 of the three ways, and each way's five figures, all in percent. Yes is what is
    looked for. Precision, recall and F1 are 0 where the authors' script would divide by 0."""
    counts = Counter((one.question.stratum, one.read, one.question.truth) for one in marked)
    parts: dict[str, float] = {}
    scores = []
    for way in WAYS:
        hits, rejected = counts[way, "yes", "yes"], counts[way, "no", "no"]
        said, true = hits + counts[way, "yes", "no"], hits + counts[way, "no", "yes"]
        asked = said + rejected + counts[way, "no", "yes"]
        if not asked:  # of a sample smaller than this
            continue
        precision = hits / said if said else 0.0
        recall = hits / true if true else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        scores.append(f1)
        figures = {
            "accuracy": (hits + rejected) / asked,
            "precision": precision,
            "recall": recall,
            "F1": f1,
            "yes-ratio": said / asked,
        }
        parts |= {f"{way} {name}": 100 * value for name, value in figures.items()}
    return Totals(100 * sum(scores) / len(scores), parts)


TASK = Task(
    name="pope",
    title="POPE",
    metric="mean F1",
    data="coco/coco_pope_random.json, ..._popular.json, ..._adversarial.json and val2014/ of COCO",
    source="LLaVA, llava/eval/eval_pope.py",
    max_tokens=128,
    read=read,
    mark=mark,
    total=total,
    published={"test": (8_910, 9_000)},
)
