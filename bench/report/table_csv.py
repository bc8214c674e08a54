"""The report as CSV: one line per result, every statistic, full precision."""

from __future__ import annotations

import csv
import io

from imp_deploy.bench.report.rows import Group, Value, record


def render(groups: tuple[Group, ...]) -> str:
    """Comma-separated as RFC 4180 has it; bytes, seconds, tokens per second; empty where there is
    nothing."""
    records = [record(row, group.number) for group in groups for row in group.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]))
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in each.items()} for each in records)
    return text.getvalue()


def _cell(value: Value) -> Value:
    return str(value).lower() if isinstance(value, bool) else value
