"""The recipe of a bundle's 4-bit language model: whether it is the one asked for, and what a user
should know about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imp_deploy.bundle import Bundle, BundleFile
from imp_deploy.convert.layout import OutputFile
from imp_deploy.convert.overrides import chosen_types, parse
from imp_deploy.convert.plan import Plan
from imp_deploy.convert.quantization import F16, FOUR_BIT, WEIGHTED, fits
from imp_deploy.errors import BadInput

# Few prompts leave these without an entry, and llama-imatrix never measures them unless asked to.
_SELDOM_MEASURED = ("token_embd.weight", "output.weight")


def describe(file: BundleFile) -> str:
    """In words, e.g. `Q4_K_M with an importance matrix (1a2b3c4d) and attn_v=Q8_0`."""
    parts = list(file.overrides)
    if file.imatrix_sha256 is not None:
        parts.insert(0, f"an importance matrix ({file.imatrix_sha256[:8]})")
    return " with ".join((file.type, " and ".join(parts))) if parts else file.type


def require_same(out: Path, there: Bundle, planned: Sequence[OutputFile]) -> None:
    """That the bundle in `out` has no language model of the same bits by another recipe: it could
    not be said which one `--bits` means."""
    for new in (file.about for file in planned):
        for old in there.files:
            if old.role == new.role == "llm" and old.bits == new.bits and _differ(old, new):
                raise BadInput(
                    f"{out} has {old.bits} bits as {describe(old)}, and {describe(new)} was asked "
                    f"for; choose another folder, remove {old.path} and run the same command "
                    "again, or overwrite the whole bundle with --force."
                )


def _differ(old: BundleFile, new: BundleFile) -> bool:
    recipes = [(f.type, f.imatrix_sha256, f.overrides) for f in (old, new)]
    return recipes[0] != recipes[1]


def notes(plan: Plan) -> list[str]:
    found = []
    for i, file in enumerate(plan.files):
        if file.about.role == "llm" and file.about.bits == 4:
            found += _other_types(file)
            if file.about.imatrix_sha256 is not None:
                found += _unweighted(plan, i)
    return found


def _other_types(file: OutputFile) -> list[str]:
    about, kind = file.about, FOUR_BIT[file.about.type].type
    shapes = {name: slot.shape for name, slot in file.slots.items()}
    chosen = chosen_types([parse(text) for text in about.overrides], shapes)
    matrices = [s for n, s in file.slots.items() if len(s.shape) > 1 and n not in chosen]
    # Those at F16 have a note of their own.
    other = [s for s in matrices if s.kind != F16 and not fits(kind, s.columns)]
    if not other:
        return []
    return [
        f"{about.path} has {len(other)} matrices whose rows are not whole blocks of {kind.name}; "
        f"as in llama-quantize they are {', '.join(sorted({s.kind.name for s in other}))} (the "
        f"first is {other[0].name})."
    ]


def _unweighted(plan: Plan, file: int) -> list[str]:
    targets = [t for work in plan.work for t in work.targets if t.file == file]
    names = [t.slot.name for t in targets if t.slot.kind in WEIGHTED and t.importance is None]
    names = [name for name in names if name not in _SELDOM_MEASURED]
    if not names:
        return []
    return [
        f"The importance matrix has no entry for {len(names)} matrices of "
        f"{plan.files[file].about.path}, which are quantized without (the first is {names[0]})."
    ]
