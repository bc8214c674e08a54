"""The table of language-model families: one file each, one line each here."""

from __future__ import annotations

from typing import Any

from imp_deploy.convert.families import llava, mobilevlm, phi2, phi3, qwen2
from imp_deploy.convert.families.base import Family, short
from imp_deploy.errors import BadInput

FAMILIES: tuple[Family, ...] = (
    phi2.FAMILY,
    qwen2.FAMILY,
    phi3.FAMILY,
    mobilevlm.FAMILY,
    llava.FAMILY,
    llava.HF,
)


def family_of(config: dict[str, Any], where: str) -> Family:
    """The family that `model_type` and `architectures` of a checkpoint's config name. LLaVA's two
    layouts share a model type: then the architecture decides or, where it is the language model's,
    whether the configuration is nested."""
    kind = config.get("model_type")
    plain = {name for f in FAMILIES for name in f.base_architectures}
    classes = [name for name in _architectures(config) if name not in plain]
    by_kind = [f for f in FAMILIES if kind in f.model_types]
    by_class = [f for f in FAMILIES if any(c in f.architectures for c in classes)]
    if not classes and len(by_kind) > 1:
        by_kind = [f for f in by_kind if f.nested == isinstance(config.get("text_config"), dict)]
    found = [f for f in by_kind if f in by_class] or by_kind + by_class
    if len(found) == 1:
        return found[0]
    what = "is none of a model that can be exported"
    if found:
        what = f"and the architectures {short(classes)} do not name one model"
    known = ", ".join(dict.fromkeys(f.model_types[0] for f in FAMILIES))
    raise BadInput(
        f"{where}: the model type {short(kind)} {what}; known are {known}, so check that this is "
        "a multimodal checkpoint of one of these."
    )


def _architectures(config: dict[str, Any]) -> list[str]:
    found = config.get("architectures")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
