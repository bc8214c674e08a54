"""VQA accuracy: how VQAv2, VizWiz and TextVQA mark an answer against those of ten people.

For each person the answer is compared with those of the other nine and gets min(matches / 3, 1);
the mark is the mean of the ten. So 1, 2, 3 and 4 people of the same mind give 0.3, 0.6, 0.9 and 1.

The three have this in common and differ in what they do to the texts before they compare:

- VQAv2 (`PythonEvaluationTools/vqaEvaluation/vqaEval.py` of github.com/GT-Vision-Lab/VQA): if the
  ten people wrote the same, nothing is changed and case counts; otherwise their answers and the
  model's go through `normalised`. (The authors' reason, in that repository's issue 14: such
  questions often ask for a text in the picture.)
- VizWiz (`vqaEval.py` of the API on vizwiz.org): the model's answer always goes through
  `normalised`, people's never do. Its table of contractions is mostly in curly apostrophes, so it
  leaves "dont" a word that nobody wrote.
- TextVQA (`m4c_evaluator.py` of LLaVA, after MMF): all go through `submitted`, which is
  `normalised` after lower case, without commas and question marks, and with " 's" set apart.

The server of VQAv2 and that of VizWiz get what LLaVA puts into their result files: `submitted`
answers. Only then do they apply their own rules, and so do `vqav2_mark` and `vizwiz_mark` for
answers as the model gave them ("Yes" would be wrong where ten people wrote "yes").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from imp_deploy.bench.tasks.task import Marked, Totals

_NUMBERS: Final = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}
_ARTICLES: Final = frozenset(("a", "an", "the"))
# Neither the apostrophe nor the colon; the full stop has its own rule.
_PUNCTUATION: Final = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER: Final = re.compile(r"\d,\d")
# The authors' pattern starts with a look-behind that is mistyped and always holds: a full stop
# after a digit goes as well. `re.UNICODE` (32) stands where `re.sub` takes the count.
_FULL_STOP: Final = re.compile(r"\.(?!\d)")
_MOST_FULL_STOPS: Final = 32

# Right spellings. Each is recognised with any one of its apostrophes missing.
_SPELLINGS: Final = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd
they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_CONTRACTIONS: Final = _SPELLINGS.split()
# VizWiz' table has curly apostrophes in all the others, as an early one of VQA had.
_STRAIGHT_IN_VIZWIZ: Final = frozenset(
    ("ain't", "aren't", "can't", "could've", "couldn't", "we've", "where's", "who've")
)


def _misspelt(words: Sequence[str], apostrophe: str) -> dict[str, str]:
    return {
        word[:place] + word[place + 1 :]: word
        for word in words
        for place, sign in enumerate(word)
        if sign == apostrophe
    }


# One entry of the authors' is the wrong way round. Those with a capital (Im, Ive) never apply: the
# text is in lower case by then.
_STRAIGHT: Final = {**_misspelt(_CONTRACTIONS, "'"), "somebody'd": "somebodyd"}
_CURLY: Final = {
    **_misspelt([word for word in _CONTRACTIONS if word in _STRAIGHT_IN_VIZWIZ], "'"),
    **_misspelt(
        [word.replace("'", "’") for word in _CONTRACTIONS if word not in _STRAIGHT_IN_VIZWIZ], "’"
    ),
    "somebody’d": "somebodyd",
    "couldn'tve": "couldn’t’ve",
    "hadn'tve": "hadn’t’ve",
}
for _only_straight in ("couldn’tve", "hadn’tve"):
    del _CURLY[_only_straight]


def normalised(text: str, contractions: Mapping[str, str] = _STRAIGHT) -> str:
    """`text` as the official evaluation compares it: without punctuation, full stops that no digit
    follows and articles, in lower case, with digits for the words none to ten, and with the
    apostrophes of contractions."""
    words = (_NUMBERS.get(word, word) for word in _without_punctuation(text).lower().split())
    return " ".join(contractions.get(word, word) for word in words if word not in _ARTICLES)


def _without_punctuation(text: str) -> str:
    """A sign becomes a blank, or nothing if it stands beside a blank anywhere in the text, or if
    there is a number with a comma anywhere."""
    remove_all = _COMMA_IN_NUMBER.search(text) is not None
    cleaned = text
    for sign in _PUNCTUATION:
        if sign in text:
            remove = remove_all or f"{sign} " in text or f" {sign}" in text
            cleaned = cleaned.replace(sign, "" if remove else " ")
    return _FULL_STOP.sub("", cleaned, count=_MOST_FULL_STOPS)


def submitted(answer: str) -> str:
    """`answer` as LLaVA submits it to the servers of VQAv2 and VizWiz, and marks it on TextVQA."""
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return normalised(_one_line(text.strip()))


def official_vqav2(answers: Sequence[str], answer: str) -> tuple[float, str]:
    """The mark that VQAv2's evaluation gives to `answer` in a result file, and what it compared."""
    people = [_one_line(text) for text in answers]
    read = _one_line(answer)
    if len(set(people)) > 1:
        people = [normalised(text) for text in people]
        read = normalised(read)
    return _agreement(people, read), read


def official_vizwiz(answers: Sequence[str], answer: str) -> tuple[float, str]:
    """The mark that VizWiz' evaluation gives to `answer` in a result file, and what it compared."""
    read = normalised(_one_line(answer), _CURLY)
    return _agreement(answers, read), read


def vqav2_mark(answers: Sequence[str], answer: str) -> tuple[float, str]:
    """The mark from 0 to 1 of a model's answer to a question of VQAv2, and what was compared."""
    return official_vqav2(answers, submitted(answer))


def vizwiz_mark(answers: Sequence[str], answer: str) -> tuple[float, str]:
    """The mark from 0 to 1 of a model's answer to a question of VizWiz, and what was compared."""
    return official_vizwiz(answers, submitted(answer))


def textvqa_mark(answers: Sequence[str], answer: str) -> tuple[float, str]:
    """The mark from 0 to 1 of a model's answer to a question of TextVQA, and what was compared."""
    read = submitted(answer)
    return _agreement([submitted(text) for text in answers], read), read


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _agreement(people: Sequence[str], answer: str) -> float:
    same = [text == answer for text in people]
    matches = sum(same)
    # Added up one by one, as the authors do: a sum in another order can differ in its last bit.
    return sum(min(1, (matches - one) / 3) for one in same) / len(people)


def by_answer_type(marked: Sequence[Marked]) -> Totals:
    """The mean of the marks in percent, over all and per answer type (the question's stratum)."""
    kinds: dict[str, list[float]] = {}
    for one in marked:
        kinds.setdefault(one.question.stratum, []).append(one.mark)
    return Totals(
        percent([one.mark for one in marked]),
        {kind: percent(kinds[kind]) for kind in sorted(kinds)},
    )


def percent(marks: Sequence[float]) -> float:
    """Their mean in percent; the authors print it rounded to two digits."""
    return 100 * sum(marks) / len(marks)
