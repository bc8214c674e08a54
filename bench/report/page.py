"""The report as one HTML page: no script, no font, nothing from a network."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from imp_deploy import __version__
from imp_deploy.bench.report import (
    accuracy_html,
    asked,
    bandwidth,
    describe,
    explain,
    moments,
    paper,
    phases,
    plots,
    remarks,
    table_html,
    timeline,
)
from imp_deploy.bench.report.accuracy import Column
from imp_deploy.bench.report.contents import Contents, shown
from imp_deploy.bench.report.markup import Markup, tag, together, words
from imp_deploy.bench.report.rows import Group, Row, differences
from imp_deploy.bench.report.variants import Family


def render(contents: Contents) -> str:
    """A page that is well-formed as HTML and as XML."""
    style = files("imp_deploy.bench.report").joinpath("assets", "report.css").read_text("utf-8")
    title = explain.title(contents)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", words(title)),
        tag("style", Markup(style)),
    )
    main = tag("main", _top(contents, title), *_sections(contents), _reading(contents))
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', main), lang='en')}\n"


def _top(contents: Contents, title: str) -> Markup:
    groups = contents.groups
    parts = [tag("h1", words(title)), tag("p", words(explain.lead(contents)), class_="lead")]
    if len(groups) + bool(contents.families) > 1:
        links = [
            tag(
                "li",
                tag("a", words(f"{g.number}. {g.hardware}"), href=f"#group-{g.number}"),
                words(f" {_members(g)}"),
            )
            for g in groups
        ]
        if contents.families:
            link = tag("a", words(_accuracy_heading(contents)), href="#accuracy")
            text = words(" of all variants, whatever was timed")
            links.insert(sum(g.standing == "measured" for g in groups), tag("li", link, text))
        parts.append(tag("nav", tag("ul", *links), aria_label="Groups"))
    return tag("header", *parts)


def _accuracy_heading(contents: Contents) -> str:
    return explain.ACCURACY_HEADING if contents.columns else explain.DISTANCE_HEADING


def _members(group: Group) -> str:
    count = len(group.rows)
    text = f"{count} {'result' if count == 1 else 'results'}, {group.days}"
    if not group.complete:
        text += ", incomplete"
    return text


def _sections(contents: Contents) -> list[Markup]:
    """The measured groups, then accuracies, then what must be read with caution."""
    sections = []
    for standing, heading in explain.HEADINGS.items():
        members = [g for g in contents.groups if g.standing == standing]
        if members:
            parts = [tag("h2", words(heading))]
            if caution := explain.CAUTIONS[standing]:
                parts.append(tag("p", words(caution), class_="caution"))
            parts += [_group(group, members[0], contents.columns) for group in members]
            sections.append(tag("section", *parts))
        if standing == "measured" and contents.families:
            sections.append(_accuracy(contents))
    return sections


def _accuracy(contents: Contents) -> Markup:
    heading = tag("h2", words(_accuracy_heading(contents)))
    families = (_family(family, contents.columns) for family in contents.families)
    return tag("section", heading, *families, id="accuracy")


def _family(family: Family, every: Sequence[Column]) -> Markup:
    identifier = f"accuracy-{family.number}"
    about = f"llama.cpp {family.llama_cpp}, weights SHA-256 {family.weights}"
    parts = [tag("h3", words(family.title)), tag("p", words(about), class_="quiet small wide")]
    if columns := shown(every, family.rows):
        parts.append(accuracy_html.table(family, columns))
        parts.append(_remarks(remarks.of_variants(family.rows, columns)))
        parts.append(plots.against_size(family, columns, identifier))
        parts.append(_more(asked.TITLE, accuracy_html.evaluations(family)))
    if any(row.distances for row in family.rows):
        parts += [tag("h4", words(explain.DISTANCE_HEADING))] if every else []
        parts.append(tag("p", words(explain.DISTANCE), class_="quiet small"))
        parts.append(accuracy_html.distances(family))
    return tag("article", *parts, id=identifier)


def _remarks(sentences: Sequence[str]) -> Markup:
    if not sentences:
        return Markup("")
    return tag("ul", *(tag("li", words(text)) for text in sentences), class_="notices")


def _group(group: Group, reference: Group, every: Sequence[Column]) -> Markup:
    identifier = f"group-{group.number}"
    parts = [tag("h3", words(f"{group.number}. {group.hardware}"))]
    if group is not reference:
        text = f"Not comparable with group {reference.number}. What differs:"
        parts.append(tag("p", words(text)))
        found = differences(reference, group)
        parts.append(table_html.difference_table(found, reference, group))
    columns = shown(every, group.rows)
    parts += [
        table_html.latency(group, columns),
        _remarks(remarks.of_group(group, columns)),
        plots.against_time(group, columns, identifier),
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


def _reading(contents: Contents) -> Markup:
    terms = (
        tag("div", tag("dt", words(term)), tag("dd", words(meaning)))
        for term, meaning in explain.TERMS
    )
    parts = [tag("h2", words("How to read this"))]
    if contents.groups:
        parts.append(tag("dl", *terms, class_="terms"))
        parts += [tag("p", words(text)) for text in (explain.STATISTICS, explain.COPY_TEST)]
    parts += [tag("p", words(text)) for text in explain.reading(contents)]
    if any(row.paper for group in contents.groups for row in group.rows):
        link = tag("a", words(paper.SOURCE), href=paper.LINK)
        parts.append(tag("p", words("The paper's figures: "), link, words(".")))
        parts.append(tag("p", words(f"{explain.RATIOS} {paper.RULE}")))
    if explain.papers_accuracies(contents):
        link = tag("a", words(paper.ACCURACY_SOURCE), href=paper.LINK)
        text = words(f". {paper.ACCURACY_RULE}")
        parts.append(tag("p", words("The paper's accuracies: "), link, text))
    made = f"imp-deploy {__version__}"
    return tag("footer", *parts, tag("p", words(made), class_="quiet"))
