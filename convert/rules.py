"""How a checkpoint's tensors become tensors of a GGUF: one rule each, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`source` tensor -> `target` tensor in the GGUF.

    `shape` and, where the GGUF has the same bytes in another one, `stored` are in terms that `size`
    resolves. `{i}` stands for the layer. `optional`: an output head, which is left out where
    it is the embedding table. `rotary`: the rows are
    those of so many heads (a term), in halves; llama.cpp wants each head's in pairs.
    """

    source: str
    target: str
    shape: tuple[str, ...]
    stored: tuple[str, ...] | None = None
    optional: bool = False
    rotary: str | None = None


def size(term: str, sizes: Mapping[str, int]) -> int:
    """`term`: names and numbers joined by `+` ("hidden+kv+kv", "3")."""
    return sum(int(part) if part.isdigit() else sizes[part] for part in term.split("+"))


def linear(
    source: str, target: str, out: str, into: str, *, bias: bool, rotary: str | None = None
) -> tuple[Rule, ...]:
    """Weight and, where the layer has one, bias of a linear layer."""
    assert not (bias and rotary), "a bias is not reordered"
    weight = Rule(
        source=f"{source}.weight", target=f"{target}.weight", shape=(out, into), rotary=rotary
    )
    if not bias:
        return (weight,)
    return (
        weight,
        Rule(source=f"{source}.bias", target=f"{target}.bias", shape=(out,)),
    )


def norm(source: str, target: str, *, bias: bool, width: str = "hidden") -> tuple[Rule, ...]:
    parts = ("weight", "bias") if bias else ("weight",)
    return tuple(
        Rule(source=f"{source}.{p}", target=f"{target}.{p}", shape=(width,)) for p in parts
    )
