"""MMBench and MMBench-CN: multiple choice, where only who is right in every order of the options
is surely right.

The authors' tables hold a row for each rotation of a question's options; their server's figure,
which LLaVA-1.5 and the Imp paper print, is the circular one."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from imp_deploy.bench.tasks import files, letters, suffixes, xlsx
from imp_deploy.bench.tasks.mmbench_rows import LETTERS, TURN, Row, nothing
from imp_deploy.bench.tasks.mmbench_rows import read as read_rows
from imp_deploy.bench.tasks.task import Loaded, Marked, Question, Task, Totals
from imp_deploy.errors import BadInput

# LLaVA's first, then the authors' later ones.
_FILES = {
    ("en", "dev"): (
        "mmbench_dev_20230712.tsv",
        "mmbench_dev_en_20231003.tsv",
        "MMBench_DEV_EN.tsv",
        "MMBench_DEV_EN_V11.tsv",
    ),
    ("en", "test"): (
        "mmbench_test_20230712.tsv",
        "mmbench_test_en_20231003.tsv",
        "MMBench_TEST_EN.tsv",
        "MMBench_TEST_EN_V11.tsv",
    ),
    ("cn", "dev"): (
        "mmbench_dev_cn_20231003.tsv",
        "MMBench_DEV_CN.tsv",
        "MMBench_DEV_CN_V11.tsv",
    ),
    ("cn", "test"): (
        "mmbench_test_cn_20231003.tsv",
        "MMBench_TEST_CN.tsv",
        "MMBench_TEST_CN_V11.tsv",
    ),
}
_SUFFIXES = {"en": suffixes.LETTER, "cn": suffixes.LETTER_CN}
# What LLaVA (scripts/convert_mmbench_for_submission.py) leaves out of a submission, and the place
# of the prediction among the columns that stay.
_NOT_SUBMITTED = frozenset(("hint", "category", "source", "image", "comment", "l2-category"))
_PREDICTION = 6


def read(language: str, data: Path, split: str | None) -> Loaded:
    """`dev`: a question per row in its first order; `dev-circular`: in every rotation, those of the
    table, or made here if it has none; `test`: every row as it is, without answers."""
    files.folder(data)
    paths = {name: files.optional(data, _FILES[language, name]) for name in ("dev", "test")}
    there = [
        split
        for split in ("dev-circular", "dev", "test")
        if paths[split.removesuffix("-circular")] is not None
    ]
    if not there:  # says what was looked for
        files.first(data, [*_FILES[language, "dev"], *_FILES[language, "test"]], "MMBench table")
    split = files.split_of(split, there, data)
    path = paths[split.removesuffix("-circular")]
    assert path is not None
    rows = read_rows(path)
    _check_split(path, split.removesuffix("-circular"), rows)
    if split == "dev":
        rows = _first_orders(path, rows)
    if split == "dev-circular":
        rows = _circular(path, rows)
    questions = (_question(row, language, split) for row in rows)
    return Loaded(split, files.checked(questions, path))


def _check_split(path: Path, split: str, rows: Sequence[Row]) -> None:
    for row in rows:
        named = row.cells.get("split") or split
        if named != split:
            raise BadInput(
                f"{path} holds questions of the split {named!r} under the name of {split!r}; give "
                "the file its own name again."
            )
    answered = sum(row.answer is not None for row in rows)
    if answered != len(rows) and (split == "dev" or answered):
        raise BadInput(
            f"{path} has the answers to {answered} of its {len(rows)} questions; download it again."
        )


def _first_orders(path: Path, rows: Sequence[Row]) -> tuple[Row, ...]:
    first = tuple(row for row in rows if row.turn == 0)
    if lost := {row.base for row in rows} - {row.index for row in first}:
        raise BadInput(
            f"{path} has rotations of the question {min(lost)} and not its first order; download "
            "it again."
        )
    return first


def _circular(path: Path, rows: Sequence[Row]) -> tuple[Row, ...]:
    if all(row.turn == 0 for row in rows):
        return tuple(_turned(row, turn) for row in rows for turn in range(len(row.options)))
    groups: dict[int, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        groups[row.base][row.turn] = row
    for base, turns in groups.items():
        wanted = len(turns[min(turns)].options)
        if set(turns) != set(range(wanted)):
            raise BadInput(
                f"{path} has {len(turns)} rotations of the question {base}, which has {wanted} "
                "options; download it again, or ask for --split dev."
            )
    return tuple(row for base in groups for _, row in sorted(groups[base].items()))


def _turned(row: Row, turn: int) -> Row:
    """`row` with its first `turn` options moved to the end."""
    options = row.options[turn:] + row.options[:turn]
    assert row.answer is not None
    place = (LETTERS.index(row.answer) - turn) % len(options)
    return Row(
        index=row.index + turn * TURN,
        options=options,
        answer=LETTERS[place],
        picture=row.picture,
        cells={**row.cells, **dict(zip(LETTERS, options, strict=False)), "answer": LETTERS[place]},
    )


def _question(row: Row, language: str, split: str) -> Question:
    hint = row.cells.get("hint", "")
    shown: list[str] = []
    for option in row.options:
        if nothing(option):  # LLaVA shows neither it nor what follows
            break
        shown.append(option)
    lines = [*([] if nothing(hint) else [hint]), row.cells["question"]]
    lines += [letters.shown(shown)] if shown else []
    truth = None if row.answer is None else {"answer": row.answer, "options": shown}
    return Question(
        id=str(row.index),
        text=suffixes.with_suffix("\n".join(lines), _SUFFIXES[language]),
        picture=row.picture,
        truth=truth,
        stratum=row.cells.get("category", ""),
        group=str(row.base) if split == "dev-circular" else "",
        columns=() if truth else tuple(row.cells.items()),
    )


def mark(question: Question, answer: str) -> tuple[float, str]:
    """Right with the right letter, or with the words of the right option alone."""
    letter = letters.matched(answer, question.truth["options"])
    return float(letter == question.truth["answer"]), letter


def total(marked: Sequence[Marked]) -> Totals:
    """In percent: the share of right answers (vanilla), or, when all rotations were asked, the
    share of questions that were right in each (circular), beside the vanilla one of the first."""
    marks: dict[str, list[float]] = defaultdict(list)
    for answer in marked:
        marks[answer.question.group].append(answer.mark)
    # A question counts as often as its first order is there: more than once in a resample.
    first = [answer for answer in marked if answer.question.group in ("", answer.question.id)]
    vanilla = 100 * sum(answer.mark for answer in first) / len(first)
    if "" in marks:
        return Totals(vanilla)
    right = sum(all(marks[answer.question.group]) for answer in first)
    return Totals(100 * right / len(first), {"vanilla": vanilla})


def submission(name: str, answers: Sequence[tuple[Question, str]]) -> tuple[str, bytes]:
    """The workbook that MMBench's server takes, with the columns of LLaVA's."""
    rows: list[list[str | int]] = []
    for question, answer in answers:
        columns = [(key, cell) for key, cell in question.columns if key not in _NOT_SUBMITTED]
        columns.insert(_PREDICTION, ("prediction", answer))
        if not rows:
            rows.append([key for key, _ in columns])
        rows.append([int(cell) if key == "index" else cell for key, cell in columns])
    return f"{name}.xlsx", xlsx.workbook(rows)


def _task(name: str, title: str, language: str) -> Task:
    return Task(
        name=name,
        title=title,
        metric="accuracy",
        data=f"{_FILES[language, 'dev'][0]} of MMBench",
        source="LLaVA, llava/eval/model_vqa_mmbench.py, and OpenCompass, tools/eval_mmbench.py",
        max_tokens=128,
        read=functools.partial(read, language),
        mark=mark,
        total=total,
        submission=functools.partial(submission, name),
    )


ENGLISH = _task("mmbench", "MMBench", "en")
CHINESE = _task("mmbench-cn", "MMBench-CN", "cn")
