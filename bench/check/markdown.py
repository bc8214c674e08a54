"""The check as Markdown, for the page of a CI job."""

from __future__ import annotations

from collections.abc import Sequence

from imp_deploy.bench.check import words
from imp_deploy.bench.check.rows import Answer, Row, verdict
from imp_deploy.bench.report.markdown_text import table, text

_HEAD = ("answer", "kind", "what", "metric", "baseline", "candidate", "change", "evidence")
_NUMBERS = frozenset({"baseline", "candidate", "change"})
_MARKS: dict[Answer, str] = {
    "regressed": "❌",
    "incomparable": "❔",
    "inconclusive": "❔",
    "improved": "✅",
    "ok": "✅",
}
_TO_DO = {
    "regressed": (
        "Find the change that did this, or, if it is wanted, accept the candidate as the new "
        "baseline: `imp-deploy check CANDIDATE --baseline FILE --update`, and commit the file."
    ),
    "undecided": (
        "Nothing is shown to be worse, and not everything is shown to be as good. Do what the "
        "sentences above say, and check again."
    ),
    "ok": "Nothing.",
}


def render(rows: Sequence[Row]) -> str:
    """`rows` as `ordered` has them. Rows that are ok are folded away."""
    state = verdict(rows)
    parts = [f"## imp-deploy check\n\n**{words.headline(rows)}.**"]
    loud = [row for row in rows if row.answer != "ok"]
    quiet = [row for row in rows if row.answer == "ok"]
    if loud:
        parts.append(_table(loud))
        told = (f"- {answer}: {text(f'{name}: {why}')}" for answer, name, why in words.told(rows))
        parts.append("\n".join(told))
    if quiet:
        title = "1 row is ok" if len(quiet) == 1 else f"{len(quiet)} rows are ok"
        parts.append(f"<details>\n<summary>{title}</summary>\n\n{_table(quiet)}\n\n</details>")
    parts.append(f"**What to do**: {_TO_DO[state]}")
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Row]) -> str:
    lines = [
        (
            f"{_MARKS[row.answer]} {row.answer}",
            row.kind,
            row.subject,
            row.metric,
            words.value(row, row.baseline),
            words.value(row, row.candidate),
            words.change(row),
            ", ".join(filter(None, (words.evidence(row), words.interval(row)))),
        )
        for row in rows
    ]
    return table(_HEAD, lines, _NUMBERS)
