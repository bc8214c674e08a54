"""Each expectation is worked out by hand from the authors' definitions, quirks included: a figure
that differs in a digit from the official tool's cannot be compared with any published one."""

from __future__ import annotations

import pytest

from imp_deploy.bench.tasks import vqa_accuracy as rules


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        # case, articles, number words
        ("Yes", "yes"),
        ("The Cat", "cat"),
        ("a", ""),
        ("an apple and the pear", "apple and pear"),
        ("none", "0"),
        ("Zero", "0"),
        ("one", "1"),
        ("ten people", "10 people"),
        ("eleven", "eleven"),
        ("someone", "someone"),
        # contractions, with any one apostrophe missing
        ("dont", "don't"),
        ("I dont know", "i don't know"),
        ("wouldntve", "wouldntve"),
        ("wouldnt've", "wouldn't've"),
        ("wouldn'tve", "wouldn't've"),
        ("oclock", "o'clock"),
        ("twas", "'twas"),
        ("somebody'd", "somebodyd"),
        ("im", "im"),
        ("lets", "lets"),
        ("a dont", "don't"),
        # full stops: away unless a digit follows, even after a digit
        ("2.5", "2.5"),
        (".5", ".5"),
        ("5.", "5"),
        ("U.S.A.", "usa"),
        ("v.2", "v.2"),
        ("a.", ""),  # the full stop goes first, then it is an article
        # commas: nothing in or beside a number with one, otherwise a blank
        ("100,978", "100978"),
        ("red,blue", "red blue"),
        ("red, blue", "red blue"),
        ("1,000 red-blue", "1000 redblue"),
        ("1, 2", "1 2"),
        # a sign beside a blank goes without one; everywhere, if it is so once
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("t-shirt", "t shirt"),
        ("t-shirt - red", "tshirt red"),
        ("yes!", "yes"),
        ('"stop"', "stop"),
        ("50%", "50%"),
        # the apostrophe and the colon stay
        ("girl's", "girl's"),
        ("2:50 pm", "2:50 pm"),
        ("  two   dogs ", "2 dogs"),
    ],
)
def test_the_official_normalisation(text: str, normal: str) -> None:
    assert rules.normalised(text) == normal


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Yes", "yes"),
        ("Yes.", "yes"),
        ("1,000", "1000"),
        ("red, blue", "red blue"),
        ("red,blue", "redblue"),
        ("why?not", "whynot"),
        ("girl's", "girl 's"),
        ("What's up", "what 's up"),
        ("A", ""),
        ("line\nline", "line line"),
        ("T-shirt", "t shirt"),
    ],
)
def test_what_llava_submits(answer: str, text: str) -> None:
    assert rules.submitted(answer) == text


def test_only_32_full_stops_go() -> None:
    """Who drops them all marks a long row of dots otherwise than the official tool."""
    assert rules.normalised("x." * 33) == "x" * 33 + "."


@pytest.mark.parametrize(("same", "mark"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1)])
def test_the_mark_is_the_mean_over_nine_others(same: int, mark: float) -> None:
    answers = ["cat"] * same + [f"dog {n}" for n in range(10 - same)]
    for rule in (rules.vqav2_mark, rules.vizwiz_mark, rules.textvqa_mark):
        assert rule(answers, "cat") == (pytest.approx(mark), "cat")


def test_vqav2_changes_nothing_where_all_agree() -> None:
    assert rules.official_vqav2(["yes"] * 10, "yes")[0] == 1
    assert rules.official_vqav2(["yes"] * 10, "Yes")[0] == 0
    assert rules.official_vqav2(["the end"] * 10, "the end") == (1, "the end")
    assert rules.official_vqav2(["the end"] * 9 + ["end"], "The End!") == (1, "end")


def test_vqav2_looks_at_agreement_before_it_normalises() -> None:
    """Ten answers that only differ in blanks at their ends agree; "The" makes a difference."""
    assert rules.official_vqav2(["two "] * 5 + ["\ttwo"] * 5, "2")[0] == 0
    assert rules.official_vqav2(["two"] * 5 + ["The two"] * 5, "2")[0] == 1


def test_a_models_answer_is_marked_as_it_would_be_submitted() -> None:
    assert rules.vqav2_mark(["yes"] * 10, "Yes.") == (1, "yes")
    assert rules.vqav2_mark(["the end"] * 10, "The End") == (0, "end")
    assert rules.vqav2_mark(["girl's"] * 6 + ["boy's"] * 4, "girl's")[0] == 0


def test_vizwiz_leaves_peoples_answers_alone() -> None:
    assert rules.vizwiz_mark(["unanswerable"] * 10, "Unanswerable")[0] == 1
    assert rules.vizwiz_mark(["Coke"] * 10, "Coke")[0] == 0
    assert rules.vizwiz_mark(["the coke"] * 10, "the coke")[0] == 0
    assert rules.vizwiz_mark(["2"] * 10, "two") == (1, "2")


def test_vizwiz_has_curly_contractions() -> None:
    assert rules.official_vizwiz(["don't"] * 10, "dont") == (0, "don’t")
    assert rules.official_vizwiz(["can't"] * 10, "cant") == (1, "can't")
    assert rules.vizwiz_mark(["don't"] * 10, "dont") == (1, "don't")


def test_textvqa_normalises_all_answers_always() -> None:
    assert rules.textvqa_mark(["The End."] * 10, "end") == (1, "end")
    assert rules.textvqa_mark(["Denny's"] * 4 + ["dennys"] * 6, "DENNY'S") == (1, "denny 's")
    assert rules.textvqa_mark(["1,000"] * 2 + ["one thousand"] * 8, "1000")[0] == pytest.approx(0.6)
