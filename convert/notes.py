"""What a user should know about a bundle that was just exported."""

from __future__ import annotations

from pathlib import Path

from imp_deploy.convert import recipes
from imp_deploy.convert.adapter import Adapter
from imp_deploy.convert.model import Model
from imp_deploy.convert.plan import Plan
from imp_deploy.convert.quantization import F16, Q8_0, fits


def notes(model: Model, plan: Plan) -> tuple[str, ...]:
    """One sentence each; empty when there is nothing to say."""
    found = []
    if model.tower.kind.class_token:
        found.append(
            f"llama.cpp's own programs shift the patches of {model.tower.kind.name}'s tower by one "
            "(its issue 25814), so they answer wrongly from any file of this model; imp-deploy's "
            "own runner sets that right."
        )
    if model.named_tower is not None:
        found.append(
            f"config.json names the vision tower {model.named_tower}, and the one that was given "
            f"takes {model.tower.image_size} pixels in patches of {model.tower.patch}; if it is "
            "not the one of the training, answers will be worse."
        )
    if model.mode == "pad":
        found.append(
            "This checkpoint pads pictures to a square. Stock llama.cpp cannot do that exactly; "
            "imp-deploy's own runner does."
        )
        if not model.aspect_stated:
            found.append(
                "config.json does not say how a picture becomes a square (image_aspect_ratio); it "
                "is padded, as for the published checkpoints."
            )
    if model.adapter is not None:
        found += _other_base(model.adapter, model.checkpoint.folder)
    sides = dict.fromkeys(f.about.resolution for f in plan.files if f.about.resized_from)
    for side in sides:
        files = [f.about for f in plan.files if f.about.resolution == side]
        found.append(
            f"{' and '.join(about.path for about in files)} got the position table by "
            f"interpolation from {files[0].resized_from} pixels; {_retrained(model, side)}, so "
            "expect less accuracy."
        )
    found += recipes.notes(plan)
    for file in plan.files:
        about = file.about
        # Kernels are F16 whatever is asked for.
        matrices = [s for s in file.slots.values() if len(s.shape) == 2]
        halves = [s.name for s in matrices if s.kind == F16 and not fits(Q8_0, s.columns)]
        if about.bits != 16 and halves:
            found.append(
                f"{about.path} keeps {len(halves)} matrices at F16, because their rows are not "
                f"whole blocks of {about.type} (the first is {halves[0]})."
            )
    return tuple(found)


def _retrained(model: Model, resolution: int | None) -> str:
    if resolution in model.family.resolutions:
        return f"the paper's {resolution}-pixel model was retrained"
    return "the model was not trained at this size"


def _other_base(adapter: Adapter, base: Path) -> list[str]:
    """What only a name can tell: two models of one architecture have the same shapes."""
    trained_on = Path(adapter.base_name or "").name
    if not trained_on or trained_on in str(base.resolve()):
        return []
    return [
        f"The adapter says that it was trained on {adapter.base_name}; the shapes of {base} fit, "
        "and whether it is the same model nobody can tell from them."
    ]
