"""Parts that all tables of the page are made of."""

from __future__ import annotations

from imp_deploy.bench.report.markup import Markup, tag, words


def name(variant: str) -> Markup:
    """A variant's name, which breaks elsewhere than in `4 bits`."""
    return words(variant.replace(" bits", "\u00a0bits"))


def head(title: str, kind: str | None = None, unit: str = "") -> Markup:
    parts = [words(title)]
    if unit:
        parts += [words(" "), tag("span", words(unit), class_="unit")]
    return tag("th", *parts, scope="col", class_=kind)


def cell(text: str, kind: str | None = None) -> Markup:
    return tag("td", words(text), class_=kind)


def box(table: Markup, label: str) -> Markup:
    """A table that scrolls in itself where it is too wide, by keyboard as well."""
    return tag("div", table, class_="box", role="region", tabindex=0, aria_label=label)


def two_lines(first: str, second: str, kind: str | None = None) -> Markup:
    small = tag("span", words(second), class_="range")
    return tag("td", words(first), words(" "), small, class_=kind)
