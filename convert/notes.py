"""What a user should know about a bundle that was just exported."""

from __future__ import annotations

from imp_deploy.convert.plan import Model, Plan


def notes(model: Model, plan: Plan) -> tuple[str, ...]:
    """One sentence each; empty when there is nothing to say."""
    found = []
    if model.mode == "pad":
        found.append(
            "This checkpoint pads pictures to a square. Stock llama.cpp cannot do that exactly; "
            "imp-deploy's own runner does."
        )
    for file in plan.files:
        about = file.about
        if about.resized_from:
            found.append(
                f"{about.path} has its position table interpolated from {about.resized_from} "
                f"pixels; the paper's {about.resolution}-pixel model was retrained, so expect "
                "less accuracy."
            )
        halves = [s.name for s in file.slots.values() if s.kind.name == "F16"]
        if about.bits != 16 and halves:
            found.append(
                f"{about.path} keeps {len(halves)} matrices at F16, because their rows are not "
                f"whole blocks of {about.type} (the first is {halves[0]})."
            )
    return tuple(found)
