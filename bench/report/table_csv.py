"""The report as CSV: one line per result, every statistic, full precision."""

from __future__ import annotations

import csv
import io

from imp_deploy.bench.report.contents import Contents
from imp_deploy.bench.report.records import records
from imp_deploy.bench.report.rows import Value


def render(contents: Contents) -> str:
    """Comma-separated as RFC 4180 has it; bytes, seconds, tokens per second; empty where there is
    nothing."""
    lines = records(contents)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]))
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in each.items()} for each in lines)
    return text.getvalue()


def _cell(value: Value) -> Value:
    return str(value).lower() if isinstance(value, bool) else value
