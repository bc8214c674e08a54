"""The report as one HTML page: no script, no font, nothing from a network."""

from __future__ import annotations

from importlib.resources import files

from imp_deploy import __version__
from imp_deploy.bench.report import (
    bandwidth,
    describe,
    explain,
    moments,
    paper,
    phases,
    table_html,
    timeline,
)
from imp_deploy.bench.report.markup import Markup, tag, together, words
from imp_deploy.bench.report.rows import Group, Row, differences


def render(groups: tuple[Group, ...]) -> str:
    """A page that is well-formed as HTML and as XML."""
    style = files("imp_deploy.bench.report").joinpath("assets", "report.css").read_text("utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", words(explain.TITLE)),
        tag("style", Markup(style)),
    )
    body = tag("body", tag("main", _top(groups), *_sections(groups), _reading(groups)))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _top(groups: tuple[Group, ...]) -> Markup:
    parts = [tag("h1", words(explain.TITLE)), tag("p", words(explain.lead(groups)), class_="lead")]
    if len(groups) > 1:
        links = (
            tag(
                "li",
                tag("a", words(f"{g.number}. {g.hardware}"), href=f"#group-{g.number}"),
                words(f" {_members(g)}"),
            )
            for g in groups
        )
        parts.append(tag("nav", tag("ul", *links), aria_label="Groups"))
    return tag("header", *parts)


def _members(group: Group) -> str:
    count = len(group.rows)
    text = f"{count} {'result' if count == 1 else 'results'}, {group.days}"
    if not group.complete:
        text += ", incomplete"
    return text


def _sections(groups: tuple[Group, ...]) -> list[Markup]:
    sections = []
    for standing, heading in explain.HEADINGS.items():
        members = [g for g in groups if g.standing == standing]
        if not members:
            continue
        parts = [tag("h2", words(heading))]
        if caution := explain.CAUTIONS[standing]:
            parts.append(tag("p", words(caution), class_="caution"))
        parts += [_group(group, members[0]) for group in members]
        sections.append(tag("section", *parts))
    return sections


def _group(group: Group, reference: Group) -> Markup:
    identifier = f"group-{group.number}"
    parts = [tag("h3", words(f"{group.number}. {group.hardware}"))]
    if group is not reference:
        text = f"Not comparable with group {reference.number}. What differs:"
        parts.append(tag("p", words(text)))
        found = differences(reference, group)
        parts.append(table_html.difference_table(found, reference, group))
    parts += [
        table_html.latency(group),
        _notices(group),
        tag("div", _phases(group), _bandwidth(group), class_="pair"),
        *_time(group, identifier),
        _during(group),
        _facts(group),
    ]
    return tag("article", *parts, id=identifier)


def _notices(group: Group) -> Markup:
    found = describe.notices(group)
    if not found:
        return tag("p", words("No warnings and no failures."), class_="quiet")
    items = (
        tag(
            "li",
            tag("code", words(code)),
            words(f" {message} "),
            tag("span", words(name), class_="quiet"),
        )
        for name, code, message in found
    )
    return together(tag("h4", words("Warnings and failures")), tag("ul", *items, class_="notices"))


def _phases(group: Group) -> Markup:
    rows = [row for row in group.rows if row.result.measured]
    if not rows:
        return Markup("")
    note = "The phases of the sample with the median T_total; with an even number, the mean of two."
    return tag(
        "figure",
        tag("figcaption", tag("h4", words("Where the time goes")), tag("p", words(note))),
        phases.legend(),
        phases.chart(rows),
        _more("The figures of this chart", table_html.phase_table(rows)),
    )


def _time(group: Group, identifier: str) -> list[Markup]:
    """A chart for each run of `bench`; its repetitions share one clock."""
    runs: dict[str, list[Row]] = {}
    for row in sorted(group.rows, key=lambda row: row.result.started):
        runs.setdefault(row.result.run, []).append(row)
    found = []
    for number, rows in enumerate(runs.values(), start=1):
        title = "Clocks and temperature over the run"
        if len(runs) > 1:
            title += f" of {rows[0].date[:10]} ({number} of {len(runs)})"
        repetitions = moments.repetitions(rows)
        name = f"{identifier}-time-{number}"
        drawn = timeline.chart(repetitions, group.first.device.cores, name, group.hardware)
        if not repetitions:
            continue
        if drawn is None:
            note = "This device tells neither clocks nor temperatures."
            found.append(tag("figure", tag("h4", words(title)), tag("p", words(note))))
            continue
        note = (
            "Each band is a repetition, and numbers above are its round; lighter bands are "
            "warm-ups, and between bands the device rests and loads. A clock is the highest of its "
            "cores; faint lines are single sensors."
        )
        caption = tag("figcaption", tag("h4", words(title)), tag("p", words(note)))
        found.append(tag("figure", caption, drawn))
    return found


def _bandwidth(group: Group) -> Markup:
    rows = [row for row in group.rows if row.share is not None]
    if not rows:
        return Markup("")
    title = tag("h4", words("Memory bandwidth that decoding reached"))
    return tag(
        "figure",
        tag("figcaption", title, tag("p", words(explain.BANDWIDTH))),
        bandwidth.chart(rows),
        _more("The figures of this chart", table_html.bandwidth_table(rows)),
    )


def _during(group: Group) -> Markup:
    if not describe.during(group):
        return Markup("")
    return together(tag("h4", words("During the runs")), table_html.during_table(group))


def _facts(group: Group) -> Markup:
    lists = (
        tag(
            "section",
            tag("h5", words(facts.title)),
            tag(
                "dl",
                *(
                    tag("div", tag("dt", words(name)), tag("dd", words(value)))
                    for name, value in facts.items
                ),
            ),
        )
        for facts in describe.describe(group)
    )
    return together(tag("h4", words("To repeat it")), tag("div", *lists, class_="facts"))


def _more(summary: str, content: Markup) -> Markup:
    return tag("details", tag("summary", words(summary)), content)


def _reading(groups: tuple[Group, ...]) -> Markup:
    terms = (
        tag("div", tag("dt", words(term)), tag("dd", words(meaning)))
        for term, meaning in explain.TERMS
    )
    parts = [
        tag("h2", words("How to read this")),
        tag("dl", *terms, class_="terms"),
        tag("p", words(explain.STATISTICS)),
        tag("p", words(explain.COPY_TEST)),
    ]
    if any(row.paper for group in groups for row in group.rows):
        link = tag("a", words(paper.SOURCE), href=paper.LINK)
        parts.append(tag("p", words("The paper's figures: "), link, words(".")))
        parts.append(tag("p", words(f"{explain.RATIOS} {paper.RULE}")))
    made = f"imp-deploy {__version__}"
    return tag("footer", *parts, tag("p", words(made), class_="quiet"))
