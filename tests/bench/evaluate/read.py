"""Reads files of answers, as a user would."""

from __future__ import annotations

import json
from pathlib import Path

from imp_deploy import record
from imp_deploy.evaluation import Answered


def read_answers(path: Path) -> dict[str, Answered]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = {line["id"]: record.parse(Answered, line, "line", "") for line in lines}
    assert len(found) == len(lines)
    return found
