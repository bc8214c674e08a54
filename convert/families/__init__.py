"""The table of language-model families: one file each, one line each here."""

from __future__ import annotations

from typing import Any

from imp_deploy.convert.families import phi2, phi3, qwen2
from imp_deploy.convert.families.base import Family

from imp_deploy.errors import BadInput

FAMILIES: tuple[Family, ...] = (phi2.FAMILY, qwen2.FAMILY, phi3.FAMILY)


def family_of(config: dict[str, Any], where: str) -> Family:
    """The family that `model_type` or `architectures` of a checkpoint's config names."""
    names = [config.get("model_type"), *_architectures(config)]
    for family in FAMILIES:
        if any(name in family.model_types + family.architectures for name in names):
            return family
    known = ", ".join(f.model_types[0] for f in FAMILIES)
    raise BadInput(
        f"{where}: the model type {config.get('model_type')!r} is not an Imp model; known are "
        f"{known}, so check that this is an Imp checkpoint."
    )


def _architectures(config: dict[str, Any]) -> list[Any]:
    found = config.get("architectures")
    return found if isinstance(found, list) else []
