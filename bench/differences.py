"""What differs between an earlier result and the one that is wanted now, for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

_SHOWN = 3


def difference(before: Any, now: Any, among: Sequence[str] | None = None) -> str:
    """The first things that differ between two dataclasses or JSON values of the same kind, as
    `protocol.threads was 4 now 6`; `among`: only under these names at their top."""
    first, second = dict(_flat(before)), dict(_flat(now))
    names = [
        name
        for name in first | second
        if first.get(name) != second.get(name) and (among is None or name.split(".")[0] in among)
    ]
    return "; ".join(
        f"{name} was {_short(first.get(name))} now {_short(second.get(name))}"
        for name in names[:_SHOWN]
    )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Its parts by their paths: `bundle.files.0.sha256`."""
    if dataclasses.is_dataclass(value):
        inside = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    elif isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list | tuple):
        inside = [(str(place), entry) for place, entry in enumerate(value)]
    else:
        yield name, value
        return
    for key, entry in inside:
        yield from _flat(entry, f"{name}.{key}" if name else key)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
