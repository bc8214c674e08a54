"""Phi-2's own tokenizer, as llama.cpp's converter must find it beside the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gguf import GGUFReader

_TOKENS = 50256  # of GPT-2, without the one that ends a text
_END = "<|endoftext|>"


def write_phi2_tokenizer(out: Path, source: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json. GPT-2's byte pairs come from llama.cpp's
    source tree `source`, Phi-2 has runs of 31 to 2 spaces and of 9 to 2 tabs behind them."""
    fields = GGUFReader(source / "models" / "ggml-vocab-gpt-2.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()[:_TOKENS]
    merges = fields["tokenizer.ggml.merges"].contents()
    runs = [" " * n for n in range(31, 1, -1)] + ["\t" * n for n in range(9, 1, -1)]
    added = [_added(_TOKENS, _END, special=True)]
    added += [_added(_TOKENS + 1 + i, run, special=False) for i, run in enumerate(runs)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    document = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": {**level, "use_regex": True},
        "decoder": {**level, "use_regex": False},
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate([*tokens, _END])},
            "merges": merges,
        },
    }
    settings = {"tokenizer_class": "CodeGenTokenizer", "bos_token": _END, "eos_token": _END}
    (out / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    (out / "tokenizer_config.json").write_text(json.dumps({**settings, "unk_token": _END}), "utf-8")


def _added(number: int, text: str, *, special: bool) -> dict[str, Any]:
    """Whether a run of spaces is found before or after the text is split makes other tokens."""
    return {
        "id": number,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": not special,
        "special": special,
    }
