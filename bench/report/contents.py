"""Everything that one report shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imp_deploy.bench.report.accuracy import Answer, Column, chosen, columns
from imp_deploy.bench.report.distance import nearest
from imp_deploy.bench.report.read import Found
from imp_deploy.bench.report.rows import Group, Row, group
from imp_deploy.bench.report.variants import Family, Variant, families


@dataclass(frozen=True)
class Contents:
    """`groups`: what was timed; `families`: what was evaluated, whether it was timed or not;
    `columns`: the sets of questions of both."""

    groups: tuple[Group, ...]
    families: tuple[Family, ...]
    columns: tuple[Column, ...]

    @property
    def variants(self) -> tuple[Variant, ...]:
        return tuple(row for family in self.families for row in family.rows)

    @property
    def answers(self) -> tuple[Answer, ...]:
        return tuple(answer for variant in self.variants for answer in variant.answers)

    @property
    def untimed(self) -> tuple[tuple[Family, Variant], ...]:
        """Variants without a result of `bench`."""
        timed = {row.subject for group in self.groups for row in group.rows}
        return tuple(
            (family, row)
            for family in self.families
            for row in family.rows
            if row.subject not in timed
        )


def contents(found: Found) -> Contents:
    answers = chosen(found.evaluations)
    distances = nearest(found.qualities)
    every = columns(answer for each in answers.values() for answer in each)
    return Contents(group(found.results, answers), families(answers, distances), every)


def shown(every: Sequence[Column], rows: Iterable[Row | Variant]) -> tuple[Column, ...]:
    """The columns of a table of `rows`: those to which one of them has an answer."""
    answers = [answer for row in rows for answer in row.answers]
    return tuple(column for column in every if column.of(answers) is not None)
