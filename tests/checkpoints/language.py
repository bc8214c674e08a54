"""The weights of the language models, in the training naming."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.checkpoints.values import Llm, Random, Sizes
from tests.tokenizers_real import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from tests.checkpoints.values import State


def language(llm: Llm, sizes: Sizes, rows: int, vocabulary: Vocabulary, rng: Random) -> State:
    """Special tokens, and the rows behind the last token, have zero rows in the head."""
    make = {"phi2": _phi2, "qwen2": _qwen2, "phi3": _phi3, "llama": _llama}[llm]
    state = dict(make(sizes, rows, rng))
    silent = [*sorted(vocabulary.special), *range(vocabulary.tokens, rows)]
    for part in ("weight", "bias"):
        if f"lm_head.{part}" in state:
            state[f"lm_head.{part}"][silent] = 0.0
    return state


def inverse_frequencies(sizes: Sizes) -> State:
    """The rotary buffers [head / 2] of each layer, which old versions of transformers stored."""
    import torch

    head = sizes.hidden // sizes.heads
    values = 10000.0 ** -(torch.arange(0, head, 2) / head)
    names = (f"model.layers.{i}.self_attn.rotary_emb.inv_freq" for i in range(sizes.layers))
    return {name: values.clone() for name in names}


def _phi2(sizes: Sizes, rows: int, rng: Random) -> Iterator[tuple[str, Tensor]]:
    hidden, inner = sizes.hidden, sizes.inner
    yield "model.embed_tokens.weight", rng.normal("embed", rows, hidden)
    for i in range(sizes.layers):
        layer = f"model.layers.{i}"
        yield from rng.norm(f"{layer}.input_layernorm", hidden, bias=True)
        for part, gain in (("q_proj", 1.5), ("k_proj", 1.5), ("v_proj", 2.0), ("dense", 2.0)):
            yield from rng.linear(f"{layer}.self_attn.{part}", hidden, hidden, gain=gain)
        yield from rng.linear(f"{layer}.mlp.fc1", inner, hidden, gain=1.5)
        yield from rng.linear(f"{layer}.mlp.fc2", hidden, inner, gain=1.5)
    yield from rng.norm("model.final_layernorm", hidden, bias=True)
    yield from rng.linear("lm_head", rows, hidden, gain=3.0)


def _qwen2(sizes: Sizes, rows: int, rng: Random) -> Iterator[tuple[str, Tensor]]:
    yield from _gated(sizes, rows, rng, bias=True, gain=1.5)


def _llama(sizes: Sizes, rows: int, rng: Random) -> Iterator[tuple[str, Tensor]]:
    # Without biases, attention must be sharper, or greedy text soon repeats one token.
    yield from _gated(sizes, rows, rng, bias=False, gain=2.5)


def _gated(
    sizes: Sizes, rows: int, rng: Random, *, bias: bool, gain: float
) -> Iterator[tuple[str, Tensor]]:
    """Qwen2's names and shapes; LLaMA's are the same without the `bias` of Q, K and V. `gain` is
    that of Q and K."""
    hidden, inner = sizes.hidden, sizes.inner
    few = (sizes.kv_heads or sizes.heads) * (hidden // sizes.heads)
    yield "model.embed_tokens.weight", rng.normal("embed", rows, hidden)
    for i in range(sizes.layers):
        layer = f"model.layers.{i}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield from rng.norm(f"{layer}.{norm}", hidden, bias=False)
        attention = f"{layer}.self_attn"
        yield from rng.linear(f"{attention}.q_proj", hidden, hidden, gain=gain, bias=bias)
        yield from rng.linear(f"{attention}.k_proj", few, hidden, gain=gain, bias=bias)
        yield from rng.linear(f"{attention}.v_proj", few, hidden, gain=2.0, bias=bias)
        yield from rng.linear(f"{attention}.o_proj", hidden, hidden, gain=2.0, bias=False)
        for part in ("gate", "up"):
            yield from rng.linear(f"{layer}.mlp.{part}_proj", inner, hidden, gain=1.5, bias=False)
        yield from rng.linear(f"{layer}.mlp.down_proj", hidden, inner, gain=1.5, bias=False)
    yield from rng.norm("model.norm", hidden, bias=False)
    yield from rng.linear("lm_head", rows, hidden, gain=3.0, bias=False)


def _phi3(sizes: Sizes, rows: int, rng: Random) -> Iterator[tuple[str, Tensor]]:
    hidden, inner = sizes.hidden, sizes.inner
    few = (sizes.kv_heads or sizes.heads) * (hidden // sizes.heads)
    yield "model.embed_tokens.weight", rng.normal("embed", rows, hidden)
    for i in range(sizes.layers):
        layer = f"model.layers.{i}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield from rng.norm(f"{layer}.{norm}", hidden, bias=False)
        for name, outputs, inputs, gain in (
            ("self_attn.qkv_proj", hidden + 2 * few, hidden, 1.7),
            ("self_attn.o_proj", hidden, hidden, 2.0),
            ("mlp.gate_up_proj", 2 * inner, hidden, 1.5),
            ("mlp.down_proj", hidden, inner, 1.5),
        ):
            yield from rng.linear(f"{layer}.{name}", outputs, inputs, gain=gain, bias=False)
    yield from rng.norm("model.norm", hidden, bias=False)
    yield from rng.linear("lm_head", rows, hidden, gain=3.0, bias=False)
