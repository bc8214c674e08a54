"""What the mmproj file says of tower, projector and picture."""

from __future__ import annotations

from typing import Any

from imp_deploy.convert.model import Model
from imp_deploy.errors import BadInput


def mmproj_metadata(model: Model, resolution: int, inner: int) -> dict[str, Any]:
    """Keys of the mmproj; `inner`: the FFN's width in the file, which zeros may have widened.

    Two of them decide what libmtmd computes, and nothing reports it when they are missing: without
    `feature_layer` the last block is skipped, and without the empty pinpoint list pictures that
    are to be squashed are padded.
    """
    tower = model.tower
    values: dict[str, Any] = {
        "clip.has_vision_encoder": True,
        "clip.projector_type": model.projector.clip_type,
        # Of the tower's layers: the tanh GELU; without it, x * sigmoid(1.702 x), which is CLIP's.
        "clip.use_gelu": tower.kind.activation == "gelu_pytorch_tanh",
        "clip.vision.image_size": resolution,
        "clip.vision.patch_size": tower.patch,
        "clip.vision.embedding_length": tower.hidden,
        "clip.vision.feed_forward_length": inner,
        "clip.vision.block_count": tower.used,
        "clip.vision.attention.head_count": tower.heads,
        "clip.vision.attention.layer_norm_epsilon": tower.epsilon,
        "clip.vision.projection_dim": model.dimensions.hidden,
        "clip.vision.image_mean": list(tower.kind.mean),
        "clip.vision.image_std": list(tower.kind.std),
        "clip.vision.feature_layer": [tower.used],
    }
    if model.mode == "squash":
        values["clip.vision.image_grid_pinpoints"] = [0, 0]
    return values


def check_resolutions(model: Model, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    """The resolutions to export: those asked for, or the checkpoint's own and the smaller ones that
    are usual in its family."""
    tower, folder = model.tower, model.checkpoint.folder
    if wanted is None:
        smaller = {r for r in model.family.resolutions if tower.patch <= r < tower.image_size}
        return (tower.image_size, *sorted(smaller, reverse=True))
    for resolution in wanted:
        if model.projector.grid is not None and resolution != tower.image_size:
            raise BadInput(
                f"{folder} cannot give resolution {resolution}, because its projector "
                f"({model.projector.name}) takes {model.projector.grid} x {model.projector.grid} "
                f"patches; ask for {tower.image_size}."
            )
        if not tower.patch <= resolution <= tower.image_size:
            raise BadInput(
                f"{folder} was trained at {tower.image_size} pixels and cannot give resolution "
                f"{resolution}; ask for {tower.patch} to {tower.image_size}."
            )
    return tuple(dict.fromkeys(wanted))
