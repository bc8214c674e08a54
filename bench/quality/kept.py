"""The result files of earlier calls: which are done, which are of something else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from imp_deploy import quality
from imp_deploy.errors import BadInput
from imp_deploy.quality import Quality

_OWN = ("items", "dropped_mass", "started")


def result_path(out: Path, result: Quality) -> Path:
    """`Imp-3B-quality-demo-4bit-196.json`; an 8- or 4-bit tower is named as well."""
    variant = result.variant
    tower = f"-vision{variant.vision_bits}" if variant.vision_bits != 16 else ""
    name = f"{result.bundle.name}-quality-{result.task.name}"
    file = f"{name}-{variant.bits}bit-{variant.resolution}{tower}.json"
    return out / re.sub(r"[^\w.-]+", "_", file)


def earlier(out: Path, fresh: Quality, *, force: bool) -> Quality | None:
    """The earlier result of the very same measurement as `fresh`, which has no items, if there is
    one. A file of another measurement is bad input, unless `force`, which leaves all aside."""
    path = result_path(out, fresh)
    if path.is_dir():
        raise BadInput(
            f"{path} is a folder where a result should be; remove it, or choose another folder "
            "with --out."
        )
    if force or not path.exists():
        return None
    try:
        old = quality.load(path)
    except BadInput as error:
        raise BadInput(f"{error} Or overwrite it with --force.") from None
    before, now = quality.to_json(old), quality.to_json(fresh)
    for name in (*_OWN, "summary"):
        before.pop(name), now.pop(name)
    if before != now:
        raise BadInput(
            f"{path} holds another measurement ({_difference(before, now)}); choose another folder "
            "with --out, or overwrite it with --force."
        )
    return old


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The first things that differ, as `variant.bits was 4 now 8`."""
    first, second = _flat(before), _flat(now)
    names = [name for name in first | second if first.get(name) != second.get(name)]
    return "; ".join(
        f"{name} was {str(first.get(name))[:40]} now {str(second.get(name))[:40]}"
        for name in names[:3]
    )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list | tuple):
        inside = {str(place): entry for place, entry in enumerate(value)}.items()
    else:
        return {name: value}
    found: dict[str, Any] = {}
    for key, entry in inside:
        found.update(_flat(entry, f"{name}.{key}" if name else key))
    return found
