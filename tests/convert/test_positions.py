"""The interpolated position table is PyTorch's, in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imp_deploy.convert.positions import interpolate


@pytest.mark.parametrize(("old", "new"), [(27, 14), (27, 24), (27, 1), (14, 13), (16, 16)])
def test_interpolation_is_pytorch_bicubic(old: int, new: int) -> None:
    """SigLIP interpolates with PyTorch's kernel; Pillow's, or antialiasing, would shift every
    patch of the 196-pixel tower."""
    table = np.random.default_rng(0).standard_normal((old * old, 8)).astype(np.float32)
    grid = torch.from_numpy(table).double().reshape(1, old, old, 8).permute(0, 3, 1, 2)
    theirs = torch.nn.functional.interpolate(
        grid, size=(new, new), mode="bicubic", align_corners=False
    )
    expected = theirs.permute(0, 2, 3, 1).reshape(new * new, 8).numpy()
    assert np.abs(interpolate(table, old, new) - expected).max() < 1e-6
