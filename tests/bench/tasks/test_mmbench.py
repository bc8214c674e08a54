"""MMBench and MMBench-CN: the authors' tables, LLaVA's prompts, vanilla and circular accuracy, and
the workbook for the server."""

from __future__ import annotations

import base64
import csv
import io
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from imp_deploy.bench.tasks import letters
from imp_deploy.bench.tasks.mmbench import CHINESE, ENGLISH
from imp_deploy.bench.tasks.task import FilePicture, Marked, Question, Task
from imp_deploy.bench.tasks.xlsx import workbook
from imp_deploy.errors import BadInput

DEV = "mmbench_dev_20230712.tsv"
DEV_CN = "mmbench_dev_cn_20231003.tsv"
TEST = "mmbench_test_20230712.tsv"
COLUMNS = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "split")
SUFFIX = "\nAnswer with the option's letter from the given choices directly."


def picture(colour: str) -> str:
    content = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def row(index: int, options: str, answer: str, **changes: Any) -> dict[str, Any]:
    """`options`: words for A to D."""
    cells = dict(zip("ABCD", options.split(), strict=False))
    return {
        "index": index,
        "question": f"What is it, {index % 1_000_000}?",
        "answer": answer,
        "category": "object_localization",
        "image": picture("red"),
        "split": "dev",
        **cells,
        **changes,
    }


def write(path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...] = COLUMNS) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, delimiter="\t", restval="", extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)


def refused(task: Task, data: Path, *words: str, split: str | None = None) -> None:
    with pytest.raises(BadInput) as error:
        task.read(data, split)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert message.endswith(".")
    assert "\n" not in message


def with_rotations(base: int, options: str, answer: str) -> list[dict[str, Any]]:
    """As the authors' tables hold them: the first option goes to the end."""
    words, right = options.split(), options.split()["ABCD".index(answer)]
    rows = []
    for turn in range(len(words)):
        turned = words[turn:] + words[:turn]
        letter = "ABCD"[turned.index(right)]
        rows.append(row(base + turn * 1_000_000, " ".join(turned), letter))
    return rows


def test_dev_is_asked_with_llavas_prompt(tmp_path: Path) -> None:
    write(
        tmp_path / DEV,
        [
            row(241, "cat dog", "B", hint='He said "look".\nTwice.'),
            row(242, "cat dog cow", "C", image="241", hint="nan"),
            row(243, "one two None four", "A", image=picture("blue")),
            row(1_000_241, "dog cat", "A"),
            row(1_000_242, "dog cow cat", "B"),
        ],
    )
    loaded = ENGLISH.read(tmp_path, "dev")
    assert loaded.split == "dev"
    first, second, third = loaded.questions
    assert [question.id for question in loaded.questions] == ["241", "242", "243"]
    assert first.text == ('He said "look".\nTwice.\nWhat is it, 241?\nA. cat\nB. dog' + SUFFIX)
    assert second.text == "What is it, 242?\nA. cat\nB. dog\nC. cow" + SUFFIX
    assert third.text == "What is it, 243?\nA. one\nB. two" + SUFFIX  # as LLaVA shows it
    assert first.stratum == "object_localization"
    assert not first.group
    assert first.picture.key == second.picture.key != third.picture.key
    assert third.picture.load().getpixel((0, 0)) == (0, 0, 255)


def test_the_chinese_table_has_its_own_name_and_suffix(tmp_path: Path) -> None:
    write(tmp_path / DEV_CN, [row(5, "猫 狗", "B", question="这是什么？")])
    (question,) = CHINESE.read(tmp_path, "dev").questions
    assert question.text == "这是什么？\nA. 猫\nB. 狗\n请直接回答选项字母。"
    refused(ENGLISH, tmp_path, DEV, "holds no MMBench table")


@pytest.mark.parametrize("made_here", [True, False])
def test_circular_asks_every_rotation(tmp_path: Path, made_here: bool) -> None:
    tables = [with_rotations(7, "ant bee cow", "B"), with_rotations(8, "yes no", "A")]
    if made_here:
        write(tmp_path / DEV, [rows[0] for rows in tables])
    else:  # in any order
        write(
            tmp_path / DEV, sorted((r for rows in tables for r in rows), key=lambda r: -r["index"])
        )
    loaded = ENGLISH.read(tmp_path, "dev-circular")
    assert loaded.split == "dev-circular"
    questions = {question.id: question for question in loaded.questions}
    assert set(questions) == {"7", "1000007", "2000007", "8", "1000008"}
    assert [questions[id].truth["answer"] for id in ("7", "1000007", "2000007")] == ["B", "A", "C"]
    assert questions["2000007"].text == "What is it, 7?\nA. cow\nB. ant\nC. bee" + SUFFIX
    assert [questions[id].group for id in ("7", "2000007", "1000008")] == ["7", "7", "8"]
    assert len({question.picture.key for question in questions.values()}) == 1
    assert len(ENGLISH.read(tmp_path, "dev").questions) == 2
    # The figures of LLaVA and of the paper are the server's, over all rotations.
    assert ENGLISH.read(tmp_path, None) == loaded


def test_a_missing_rotation_is_refused(tmp_path: Path) -> None:
    rows = with_rotations(7, "ant bee cow", "B") + with_rotations(8, "yes no", "A")
    for lost in (0, 1, 2):
        write(tmp_path / DEV, rows[:lost] + rows[lost + 1 :])
        refused(
            ENGLISH, tmp_path, "2 rotations of the question 7, which has 3", split="dev-circular"
        )
    refused(ENGLISH, tmp_path / DEV, "is a file")
    write(tmp_path / DEV, rows[1:])  # without the first order
    refused(ENGLISH, tmp_path, "question 7", "first order", split="dev")
    write(tmp_path / DEV, rows)
    assert len(ENGLISH.read(tmp_path, "dev-circular").questions) == 5


def marked(id: str, group: str, mark: float) -> Marked:
    picture = FilePicture("a.png", Path("a.png"))
    return Marked(Question(id, "?", picture, {}, group=group), "", mark, "")


def test_the_scores_by_hand() -> None:
    assert ENGLISH.total is not None
    # 7 is right in all three orders, 8 in one of two, the second, and 9 in its first two of three.
    answers = [
        *(marked(id, "7", 1.0) for id in ("7", "1000007", "2000007")),
        *(marked(id, "8", mark) for id, mark in (("8", 0.0), ("1000008", 1.0))),
        *(marked(id, "9", mark) for id, mark in (("9", 1.0), ("1000009", 1.0), ("2000009", 0.0))),
    ]
    circular = ENGLISH.total(answers)
    assert circular.value == pytest.approx(100 / 3)
    assert circular.parts == pytest.approx({"vanilla": 200 / 3})
    drawn_twice = ENGLISH.total(answers + answers[:3])
    assert drawn_twice.value == 50
    assert drawn_twice.parts == {"vanilla": 75}
    vanilla = ENGLISH.total([marked(id, "", mark) for id, mark in (("7", 1.0), ("8", 0.0))])
    assert (vanilla.value, vanilla.parts) == (50, {})


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("(B).", "B"),
        ("B: dog", "B"),
        ("Answer :B", "B"),
        ("The answer is B", "B"),
        ("A", "A"),
        ("It is A", "A"),
        ("A dog is there", "B"),  # the article; its words name B
        ("A cat and a dog", ""),
        ("It is the DOG", "B"),
        ("A B", ""),
        ("b", ""),
        ("E", "E"),  # of no option, and so wrong
        ("a bird", ""),
        ("", ""),
    ],
)
def test_letters_are_read_as_mmbenchs_authors_do(answer: str, letter: str) -> None:
    assert letters.matched(answer, ("cat", "dog", "cow")) == letter


def test_only_the_right_letter_is_marked(tmp_path: Path) -> None:
    write(tmp_path / DEV, [row(1, "cat dog cow", "B")])
    (question,) = ENGLISH.read(tmp_path, "dev").questions
    assert ENGLISH.mark is not None
    assert ENGLISH.mark(question, "B. dog") == (1.0, "B")
    assert ENGLISH.mark(question, "A") == (0.0, "A")
    assert ENGLISH.mark(question, "nothing") == (0.0, "")


def sheet(content: bytes) -> list[list[str | None]]:
    """The cells of a workbook, read without the code that wrote them."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        tree = ElementTree.fromstring(file.read("xl/sheet1.xml"))
    rows = tree.iterfind(".//{*}row")
    return [["".join(cell.itertext()) or None for cell in row] for row in rows]


def test_the_test_table_becomes_a_workbook_and_no_score(tmp_path: Path) -> None:
    columns = ("index", "question", "hint", "A", "B", "C", "D", "category", "image", "split")
    rows = [
        row(3, "cat dog", "", split="test", hint="Look.", question="a < b & c?"),
        row(1_000_003, "dog cat", "", split="test", question="a < b & c?"),
    ]
    write(tmp_path / TEST, rows, columns)
    loaded = ENGLISH.read(tmp_path, None)
    assert loaded.split == "test"
    assert all(question.truth is None for question in loaded.questions)
    assert ENGLISH.submission is not None
    answers = list(zip(loaded.questions, ("B", " line\r\nand\x07 <line>"), strict=True))
    name, content = ENGLISH.submission(answers)
    assert name == "mmbench.xlsx"
    assert sheet(content) == [
        ["index", "question", "A", "B", "C", "D", "prediction", "split"],
        ["3", "a < b & c?", "cat", "dog", None, None, "B", "test"],
        ["1000003", "a < b & c?", "dog", "cat", None, None, " line\r\nand <line>", "test"],
    ]
    assert ENGLISH.submission(answers) == (name, content)


def test_spreadsheet_programs_can_read_the_workbook() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    long = "é" * 40_000
    rows = [
        ["index", "prediction"],
        [1_000_003, " two\nlines & <b> 请"],
        [4, ""],
        [5, long],
    ]
    book = openpyxl.load_workbook(io.BytesIO(workbook(rows)))
    read = [[cell.value for cell in row] for row in book.active.iter_rows()]
    assert read[1] == [1_000_003, " two\nlines & <b> 请"]
    assert read[2] == [4, None]
    assert read[3] == [5, long[:32_767]]


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / DEV
    refused(ENGLISH, tmp_path / "nowhere", "does not exist")
    path.mkdir()
    refused(ENGLISH, tmp_path, "folder where a file should be")
    path.rmdir()
    path.write_text("")
    refused(ENGLISH, tmp_path, "lacks the columns index, question, A, B, image")
    write(path, [])
    refused(ENGLISH, tmp_path, "no question")
    path.write_bytes(b"\xff\xfe\x00")
    refused(ENGLISH, tmp_path, "cannot be read")
    write(path, [row(1, "cat dog", "A")])
    refused(ENGLISH, tmp_path, "no split 'test'", "dev-circular, dev", split="test")
    with path.open("a") as file:
        file.write("2\tWhat?\n")
    refused(ENGLISH, tmp_path, "line 3", "2 columns instead of 11")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"index": 1}, ["question 1 twice"]),
        ({"index": "two"}, ["`index`"]),
        ({"index": -2}, ["`index`"]),
        ({"answer": "C"}, ["question 2", "answer C", "none of its options"]),
        ({"answer": "AB"}, ["answer AB"]),
        ({"answer": ""}, ["answers to 1 of its 2 questions"]),
        ({"B": ""}, ["fewer than two options"]),
        ({"image": "77"}, ["picture of question 77"]),
        ({"image": ""}, ["`image`"]),
        ({"split": "test"}, ["'test'", "'dev'"]),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    write(tmp_path / DEV, [row(1, "cat dog", "A"), row(2, "cat dog", "B") | changes])
    refused(ENGLISH, tmp_path, *words)


def test_a_damaged_picture_is_named_when_it_is_needed(tmp_path: Path) -> None:
    write(tmp_path / DEV, [row(9, "cat dog", "A", image="x" * 100)])
    (question,) = ENGLISH.read(tmp_path, "dev").questions
    with pytest.raises(BadInput, match="question 9 is not a picture"):
        question.picture.load()
