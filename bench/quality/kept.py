"""The result files of earlier calls: which are done, which are of something else."""

from __future__ import annotations

from pathlib import Path

from imp_deploy import quality
from imp_deploy.bench.differences import difference
from imp_deploy.bench.kept import path_of
from imp_deploy.errors import BadInput
from imp_deploy.quality import Quality

_OWN = ("items", "dropped_mass", "started")


def result_path(out: Path, result: Quality) -> Path:
    """`Imp-3B-quality-demo-4bit-196.json`; an 8- or 4-bit tower is named as well."""
    return path_of(out, f"{result.bundle.name}-quality-{result.task.name}", result.variant)


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
            f"{path} holds another measurement ({difference(before, now)}); choose another folder "
            "with --out, or overwrite it with --force."
        )
    return old
