"""MobileVLM's projectors against the papers' definitions, computed here in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

Array = np.ndarray[Any, np.dtype[np.float64]]
VISION, HIDDEN = 10, 24


def gelu(x: Array) -> Array:
    erf = np.vectorize(math.erf)
    return x * (1 + erf(x / math.sqrt(2))) / 2


def hard_sigmoid(x: Array) -> Array:
    return np.clip(x + 3, 0, 6) / 6


def linear(state: dict[str, Array], name: str, x: Array) -> Array:
    weight = state[f"{name}.weight"]
    return x @ weight.reshape(weight.shape[:2]).T + state.get(f"{name}.bias", 0)


def norm(state: dict[str, Array], name: str, x: Array) -> Array:
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    return x * state[f"{name}.weight"] + state[f"{name}.bias"]


def depthwise(weight: Array, x: Array, stride: int) -> Array:
    """[rows, columns, channels] -> the same, or half; zeros around it."""
    rows, columns, _ = x.shape
    around = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    out = np.zeros_like(x)
    for i in range(rows):
        for j in range(columns):
            patch = around[i : i + 3, j : j + 3]
            out[i, j] = np.einsum("ijc,cij->c", patch, weight[:, 0])
    return out[::stride, ::stride]


def block(state: dict[str, Array], name: str, x: Array, stride: int) -> Array:
    y = depthwise(state[f"{name}.0.0.weight"], x, stride)
    y = norm(state, f"{name}.0.1", y)
    y = y * hard_sigmoid(y)
    squeezed = np.maximum(linear(state, f"{name}.1.fc1", y.mean((0, 1))), 0)
    y = y * hard_sigmoid(linear(state, f"{name}.1.fc2", squeezed))
    return norm(state, f"{name}.2.1", linear(state, f"{name}.2.0", y))


def ldp_by_hand(state: dict[str, Array], features: Array) -> Array:
    """[patches, vision] -> [tokens, hidden]."""
    x = linear(state, "model.mlp.3", gelu(linear(state, "model.mlp.1", features)))
    n = math.isqrt(len(x))
    grid = x.reshape(n, n, -1)
    grid = grid + block(state, "model.mb_block.1.block", grid, 1)
    grid = block(state, "model.mb_block.2.block", grid, 2)
    return grid.reshape(-1, grid.shape[-1])


def ldp2_by_hand(state: dict[str, Array], features: Array) -> Array:
    x = linear(state, "mlp.mlp.2", gelu(linear(state, "mlp.mlp.0", features)))
    grid = x.reshape(12, 2, 12, 2, -1).mean((1, 3))
    moved = depthwise(state["peg.peg.0.weight"], grid, 1) + state["peg.peg.0.bias"]
    return (grid + moved).reshape(144, -1)


# What the published files hold under `model.mm_projector.`, with C hidden channels and S squeezed.
LDP_TENSORS = {
    "model.mlp.1.weight": "CV",
    "model.mlp.1.bias": "C",
    "model.mlp.3.weight": "CC",
    "model.mlp.3.bias": "C",
    **{
        f"model.mb_block.{i}.block.{name}": shape
        for i in (1, 2)
        for name, shape in {
            "0.0.weight": "C133",
            "0.1.weight": "C",
            "0.1.bias": "C",
            "1.fc1.weight": "SC11",
            "1.fc1.bias": "S",
            "1.fc2.weight": "CS11",
            "1.fc2.bias": "C",
            "2.0.weight": "CC11",
            "2.1.weight": "C",
            "2.1.bias": "C",
        }.items()
    },
}
LDP2_TENSORS = {
    "mlp.mlp.0.weight": "CV",
    "mlp.mlp.0.bias": "C",
    "mlp.mlp.2.weight": "CC",
    "mlp.mlp.2.bias": "C",
    "peg.peg.0.weight": "C133",
    "peg.peg.0.bias": "C",
}


def projector_state(tensors: dict[str, str], vision: int, hidden: int) -> dict[str, Any]:
    """Random tensors that put every nonlinearity to use."""
    sizes = {"C": hidden, "V": vision, "S": max(8, hidden // 4), "1": 1, "3": 3}
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, letters in tensors.items():
        shape = [sizes[letter] for letter in letters]
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            values = 2 * values / math.sqrt(math.prod(shape[1:]))
        state[name] = values
    return state


@pytest.mark.parametrize(
    ("kind", "tensors", "side", "tokens"),
    [
        ("ldpnet", LDP_TENSORS, 24, 144),
        ("ldpnet", LDP_TENSORS, 7, 16),
        ("ldpnetv2", LDP2_TENSORS, 24, 144),
    ],
)
def test_the_projectors_compute_their_definition(
    kind: str, tensors: dict[str, str], side: int, tokens: int
) -> None:
    """A wrong residual, stride or norm here would call every MobileVLM bundle wrong, or let a wrong
    one pass."""
    from imp_deploy.convert.reference.projector import build_projector

    state = projector_state(tensors, VISION, HIDDEN)
    features = np.random.default_rng(2).normal(size=(side * side, VISION))
    projector = build_projector(kind, VISION, HIDDEN, state, "a test")
    with torch.inference_mode():
        got = projector(torch.from_numpy(features).float()[None])[0].numpy()
    exact = {name: tensor.double().numpy() for name, tensor in state.items()}
    wanted = (ldp_by_hand if kind == "ldpnet" else ldp2_by_hand)(exact, features)
    assert wanted.std() > 0.1
    assert got.shape == wanted.shape == (tokens, HIDDEN)
    np.testing.assert_allclose(got, wanted, atol=2e-4)


def test_the_published_widths_fit() -> None:
    """MobileVLM-1.7B and 3B squeeze to a quarter; other widths round to multiples of 8."""
    from imp_deploy.convert.reference.ldp import squeezed_width

    widths = [2048, 2560, 24, 100, 68, 4, 46, 76]
    assert [squeezed_width(width) for width in widths] == [512, 640, 8, 24, 16, 8, 16, 24]
