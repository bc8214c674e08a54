"""The evaluation that an earlier call left: the same one, or something else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from imp_deploy import evaluation as evaluations
from imp_deploy.bench.differences import difference
from imp_deploy.bench.kept import with_volatile_of
from imp_deploy.errors import BadInput
from imp_deploy.evaluation import Evaluation

_SAME = ("task", "bundle", "variant", "device", "runner", "protocol")


def matching(path: Path, fresh: Evaluation, *, force: bool) -> Evaluation:
    """The evaluation in `path` if it is the very one that `fresh` would be, or `fresh` where there
    is none. Another one there, or answers that nothing says whose they are, are `BadInput`; with
    `force` they are removed."""
    answers = evaluations.answers_path(path)
    if force:
        for old in (path, answers):
            if old.is_file():
                old.unlink()
    if not path.exists():
        if answers.exists():
            raise BadInput(
                f"{answers} holds answers and {path.name} is missing, which says whose they are; "
                "give it back, choose another folder with --out, or begin anew with --force."
            )
        return fresh
    try:
        old_one = evaluations.load(path)
    except BadInput as error:
        raise BadInput(f"{error} Or begin anew with --force.") from None
    device, runner = with_volatile_of(old_one, fresh)
    fresh = dataclasses.replace(fresh, device=device, runner=runner)
    other = [name for name in _SAME if getattr(old_one, name) != getattr(fresh, name)]
    if other:
        raise BadInput(
            f"{path} holds another evaluation ({difference(old_one, fresh, other)}); choose "
            "another folder with --out, or overwrite it with --force."
        )
    return old_one
