"""The table of language-model families: one file each, one line each here."""

from __future__ import annotations

from typing import Any

from imp_deploy.convert.families import phi2, phi3, qwen2
from imp_deploy.convert.families.base import Family, short
from imp_deploy.errors import BadInput

FAMILIES: tuple[Family, ...] = (phi2.FAMILY, qwen2.FAMILY, phi3.FAMILY)


def family_of(config: dict[str, Any], where: str) -> Family:
    """The family that `model_type` or `architectures` of a checkpoint's config names."""
    names = [config.get("model_type"), *_architectures(config)]
    found = [f for f in FAMILIES if any(n in f.model_types + f.architectures for n in names)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f.model_types[0] for f in FAMILIES)
    what = "is not an Imp model" if not found else "and the architectures are of two models"
    raise BadInput(
        f"{where}: the model type {short(config.get('model_type'))} {what}; known are {known}, so "
        "check that this is an Imp checkpoint."
    )


def _architectures(config: dict[str, Any]) -> list[Any]:
    found = config.get("architectures")
    return found if isinstance(found, list) else []
