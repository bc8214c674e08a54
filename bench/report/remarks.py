"""What must be said of the accuracies in one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imp_deploy.bench.report import figures, paper
from imp_deploy.bench.report.accuracy import Answer, Column
from imp_deploy.bench.report.rows import Group, Row
from imp_deploy.bench.report.variants import Variant


def printed(row: Row | Variant, column: Column) -> paper.Printed | None:
    """The paper's accuracy that may stand beside the row's score: only where there is one."""
    answer = column.of(row.answers)
    if answer is None or answer.score is None:
        return None
    held = answer.evaluation
    return paper.accuracy(held.bundle, held.variant, column.name)


def of_group(group: Group, columns: Sequence[Column]) -> tuple[str, ...]:
    places = dict.fromkeys(answer.place for row in group.rows for answer in row.answers)
    if not places:
        return ()
    found = _remarks(group.rows, columns, beside_paper=not group.emulated)
    return (f"The accuracies were computed on {figures.joined(list(places))}.", *found)


def of_variants(rows: Sequence[Variant], columns: Sequence[Column]) -> tuple[str, ...]:
    return _remarks(rows, columns, beside_paper=True)


def _remarks(
    rows: Sequence[Row | Variant], columns: Sequence[Column], *, beside_paper: bool
) -> tuple[str, ...]:
    found: dict[str, list[str]] = {}
    for column in columns:
        for row in rows:
            answer = column.of(row.answers)
            if answer is None:
                continue
            for text in (*_replaced(answer, column), *_beside(row, column, beside_paper)):
                names = found.setdefault(text, [])
                if row.name not in names:
                    names.append(row.name)
    return tuple(f"{_names(names, len(rows))}: {text}" for text, names in found.items())


def _names(names: Sequence[str], count: int) -> str:
    return f"All {count} variants" if len(names) == count > 1 else "; ".join(names)


def _replaced(answer: Answer, column: Column) -> Iterable[str]:
    for left in answer.others:
        score = f"{column.figure(left.score.value)}" if left.score else left.text
        yield (
            f"{column.title} was evaluated more than once with the same questions; shown is "
            f"{answer.date} on {answer.place}, left out {left.date} on {left.place} ({score})."
        )


def _beside(row: Row | Variant, column: Column, beside_paper: bool) -> Iterable[str]:
    theirs = printed(row, column) if beside_paper else None
    answer = column.of(row.answers)
    if theirs is None or answer is None:
        return
    if answer.sampled:
        yield f"{column.title}: ours is over a sample, {answer.asked}; the paper's is over all."
    if answer.evaluation.device.emulated:
        yield f"{column.title}: ours was computed on an emulated device ({answer.place})."
    if theirs.elsewhere is not None:
        yield (
            f"{column.title}: the paper disagrees with itself, {theirs.value:.{theirs.decimals}f} "
            f"in Table 4, which stands here, and {theirs.elsewhere:.1f} in Table 3."
        )
