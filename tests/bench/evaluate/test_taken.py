"""The runner's lines, as a device holds them after whatever happened to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imp_deploy.bench.evaluate.pictures import Asked, in_order
from imp_deploy.bench.evaluate.selection import Selection
from imp_deploy.bench.evaluate.taken import Taken, Unanswerable
from imp_deploy.errors import DeviceError
from imp_deploy.runner import Answer
from tests.bench.evaluate.conftest import Evaluator


@pytest.fixture(scope="module")
def lines(demo_bundle: Path, tmp_path_factory: pytest.TempPathFactory, few: Selection) -> list[str]:
    """Real ones: of the runner on this machine."""
    kept: list[str] = []
    take = Taken.take

    def spy(self: Taken, content: bytes, *, old: bool = False) -> None:
        kept.append(content.decode())
        take(self, content, old=old)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Taken, "take", spy)
        Evaluator(bundle=demo_bundle, out=tmp_path_factory.mktemp("taken"))(few)
    return "".join(kept).splitlines()


def failed(id: str, kind: str) -> str:
    return json.dumps({"step": id, "status": "error", "kind": kind, "message": "it is too long"})


def taking(few: Selection) -> tuple[Taken, list[tuple[Asked, Answer]]]:
    got: list[tuple[Asked, Answer]] = []
    return Taken(in_order(few.questions), got.extend), got


def test_errors_of_an_earlier_attempt_are_passed_over(few: Selection, lines: list[str]) -> None:
    """The question was asked again since, and its answer may stand behind the error."""
    first = json.loads(lines[0])["step"]
    taken, got = taking(few)
    taken.take("\n".join([failed(first, "decode"), *lines, ""]).encode(), old=True)
    assert len(got) == len(few.questions) == len(taken.seen)


def test_answers_before_an_error_are_kept(few: Selection, lines: list[str]) -> None:
    last = json.loads(lines[-1])["step"]
    for kind, error in (("context", Unanswerable), ("decode", DeviceError)):
        taken, got = taking(few)
        with pytest.raises(error, match=f"{last}.*too long"):
            taken.take("\n".join([*lines[:-1], failed(last, kind), ""]).encode())
        assert len(got) == len(few.questions) - 1


def test_what_a_loss_of_power_left_is_passed_over(few: Selection, lines: list[str]) -> None:
    taken, got = taking(few)
    spoilt = [lines[0], "\0" * 300, '{"step": "sce', "7", *lines[2:], lines[2], ""]
    taken.take("\n".join(spoilt).encode())
    assert len(got) == len(few.questions) - 1
    taken.take(lines[1][:50].encode())
    taken.take(f"{lines[1][50:]}\n".encode())
    assert len(got) == len(few.questions)
