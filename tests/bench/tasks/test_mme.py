"""MME perception: both of its layouts, and the official sum of accuracy and accuracy+."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from imp_deploy.bench.tasks.mme import CATEGORIES, TASK, mark, total
from imp_deploy.bench.tasks.task import FilePicture, Marked, Question
from imp_deploy.errors import BadInput

BESIDE = ("existence", "count", "position", "color", "OCR")  # as published
ASKED = "Is there a {}?  Please answer yes or no.\tYes\nIs it day? Please answer yes or no.\tNo \n"


def write(data: Path, category: str) -> None:
    folder = data / category
    pictures = folder if category in BESIDE else folder / "images"
    texts = folder if category in BESIDE else folder / "questions_answers_YN"
    for inside in {pictures, texts}:
        inside.mkdir(parents=True)
    for name in ("0001.png", "0002.jpg"):
        Image.new("RGB", (4, 4), "green").save(pictures / name)
        (texts / f"{name[:-4]}.txt").write_text(ASKED.format(category))
    (texts / "._0001.txt").write_bytes(b"\xff\xfe")  # what a Mac's archive leaves


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for category in (*CATEGORIES, "code_reasoning"):
        write(tmp_path / "MME_Benchmark_release_version", category)
    return tmp_path


def refused(data: Path, *words: str, split: str | None = None) -> None:
    with pytest.raises(BadInput) as error:
        TASK.read(data, split)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert message.endswith(".")
    assert "\n" not in message


def test_both_layouts_are_asked_as_llava_does(data: Path) -> None:
    loaded = TASK.read(data, None)
    assert loaded.split == "perception"
    assert len(loaded.questions) == 40
    assert list(dict.fromkeys(q.stratum for q in loaded.questions)) == list(CATEGORIES)
    first, second = loaded.questions[:2]
    assert first.text == (
        "Is there a existence?\nAnswer the question using a single word or phrase."
    )
    assert (first.id, first.truth, first.group) == ("existence/0001#1", "yes", "existence/0001")
    assert (second.id, second.truth, second.group) == ("existence/0001#2", "no", "existence/0001")
    posters = next(q for q in loaded.questions if q.id == "posters/0002#1")
    assert posters.picture.key == "MME_Benchmark_release_version/posters/images/0002.jpg"
    assert posters.picture.load().size == (4, 4)
    inner = TASK.read(data / "MME_Benchmark_release_version", "perception").questions
    assert [q.id for q in inner] == [q.id for q in loaded.questions]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"),
        ("yes, there is", "yes"),
        ("NO.", "no"),
        ("Not at all", "no"),
        (" no", "no"),
        ("The answer is yes", "other"),  # behind the fourth character
        ("I know", "other"),
        ("Maybe", "other"),
        ("", "other"),
    ],
)
def test_yes_and_no_are_read_as_mmes_script_does(answer: str, said: str) -> None:
    question = Question("a#1", "?", FilePicture("a.png", Path("a.png")), "no")
    assert mark(question, answer) == (float(said == "no"), said)


def marked(category: str, pairs: list[tuple[int, int]]) -> list[Marked]:
    picture = FilePicture("a.png", Path("a.png"))
    return [
        Marked(
            Question(f"{group}#{number}", "?", picture, "yes", stratum=category, group=group),
            "",
            float(right),
            "",
        )
        for index, pair in enumerate(pairs)
        for group in (f"{category}/{index}",)
        for number, right in enumerate(pair)
    ]


def test_the_score_by_hand() -> None:
    # count: 5 of 8 questions, 2 of 4 pictures: 62.5 + 50. The nine others: 1 of 2, none: 50.
    answers = marked("count", [(1, 1), (1, 0), (0, 0), (1, 1)])
    for category in CATEGORIES:
        if category != "count":
            answers += marked(category, [(1, 0)])
    totals = total(answers)
    assert totals.parts["count"] == 112.5
    assert totals.parts["OCR"] == 50
    assert totals.value == 112.5 + 9 * 50
    everything = [answer for c in CATEGORIES for answer in marked(c, [(1, 1)])]
    assert total(everything).value == TASK.most == 2000


def test_a_picture_drawn_twice_counts_twice() -> None:
    """As in the resamples of a confidence interval."""
    answers = marked("count", [(1, 1), (0, 0)])
    assert total(answers + answers[:2]).parts["count"] == pytest.approx(100 * 4 / 6 + 100 * 2 / 3)


def test_part_of_mme_is_refused(data: Path) -> None:
    root = data / "MME_Benchmark_release_version"
    refused(data, "no split 'cognition'", "perception", split="cognition")
    refused(data / "MME", "does not exist")
    (root / "scene").rename(root / "scenes")
    refused(data, "lacks 1 of MME's ten folders", "scene")
    (root / "scenes").rename(root / "scene")
    (root / "scene/questions_answers_YN").rename(root / "scene/texts")
    refused(data, "questions_answers_YN", "cannot be read")
    (root / "scene/questions_answers_YN").mkdir()
    refused(data, "scene holds no question")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Is it?\tYes\n", ["1 questions instead of two"]),
        ("Is it?\tYes\nIs it?\tNo\nIs it?\tNo\n", ["3 questions instead of two"]),
        ("", ["0 questions instead of two"]),
        ("Is it?\tYes\nIs it? No\n", ["line 2"]),
        ("Is it?\tMaybe\nIs it?\tNo\n", ["line 1"]),
    ],
)
def test_texts_that_do_not_fit(data: Path, text: str, words: list[str]) -> None:
    path = data / "MME_Benchmark_release_version/count/0002.txt"
    path.write_text(text)
    refused(data, "count/0002.txt", *words)


def test_pictures_and_texts_must_belong_together(data: Path) -> None:
    folder = data / "MME_Benchmark_release_version/count"
    Image.new("RGB", (4, 4)).save(folder / "0002.png")
    refused(data, "both 0002.jpg and 0002.png")
    (folder / "0002.png").unlink()
    (folder / "0002.jpg").unlink()
    refused(data, "0002.txt asks about a picture 0002")
    (folder / "0002.txt").unlink()
    (folder / "0002.txt").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "0002.png")
    refused(data, "folder where a file should be")
