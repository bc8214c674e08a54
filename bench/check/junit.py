"""The check as JUnit XML, which CI services show as test results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from imp_deploy.bench.check import words
from imp_deploy.bench.check.figures import KINDS
from imp_deploy.bench.check.rows import Row

# Attributes without which the schema of Ant's format refuses a file. A check takes no time, and
# the same input gives the same bytes.
_NO_TIME = "0.000"
_NO_DATE = "1970-01-01T00:00:00"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(rows: Sequence[Row]) -> bytes:
    """A suite per kind and a test case per row: regressed is a failure, and what was not decided an
    error. Valid against the schemas of Ant's and Jenkins's formats."""
    root = Element("testsuites")
    for kind in KINDS:
        chosen = [row for row in rows if row.kind == kind]
        if chosen:
            _suite(root, kind, chosen)
    ElementTree.indent(root, " ")
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _suite(root: Element, kind: str, rows: Sequence[Row]) -> None:
    suite = SubElement(
        root,
        "testsuite",
        {
            "name": kind,
            "package": "imp-deploy.check",
            "id": str(len(root)),
            "tests": str(len(rows)),
            "failures": str(sum(_tag(row) == "failure" for row in rows)),
            "errors": str(sum(_tag(row) == "error" for row in rows)),
            "skipped": "0",
            "time": _NO_TIME,
            "timestamp": _NO_DATE,
            "hostname": "localhost",
        },
    )
    properties = SubElement(suite, "properties")
    for name, value in (("tool", "imp-deploy check"), ("result", words.tally(rows))):
        SubElement(properties, "property", {"name": name, "value": value})
    for row in rows:
        _case(suite, row)
    SubElement(suite, "system-out")
    SubElement(suite, "system-err")


def _case(suite: Element, row: Row) -> None:
    case = SubElement(
        suite,
        "testcase",
        {
            "name": _clean(words.name(row)),
            "classname": f"imp-deploy.check.{row.kind}",
            "time": _NO_TIME,
        },
    )
    if tag := _tag(row):
        short = f"{row.answer}: {words.change(row)}" if row.change is not None else row.answer
        found = SubElement(case, tag, {"message": short, "type": row.answer})
        values = f"{words.value(row, row.baseline)} -> {words.value(row, row.candidate)}"
        found.text = _clean(f"{values}. {row.reason}")


def _tag(row: Row) -> str:
    return {"regressed": "failure", "inconclusive": "error", "incomparable": "error"}.get(
        row.answer, ""
    )


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NOT_XML.sub("�", text)
