"""Tokenizer files as the real checkpoints have them, whole or cut down to a few hundred tokens.

`real` takes the vocabularies from llama.cpp's vocabulary-only GGUFs, so the ids are those of the
published models. `small` learns a vocabulary of the same kind from the prompts, and needs no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.tokenizers_pieces import (
    learn_pieces,
    pieces_of,
    write_llama,
    write_llama_hf,
    write_phi3,
)
from tests.tokenizers_shared import (
    CORPUS,
    FOREIGN_TEMPLATE,
    SMALL_MERGES,
    Added,
    Size,
    Vocabulary,
    added_token,
    gguf_fields,
    learned,
    write_json,
    write_settings,
)

__all__ = ["Family", "Kind", "Size", "Vocabulary", "write_tokenizer"]

Family = Literal["phi2", "qwen2", "phi3"]
# `phi2-plain` is Phi-2's own, without Imp's two tokens; `llama-hf` is Llama's with LLaVA's two.
Kind = Literal["phi2", "phi2-plain", "qwen2", "phi3", "llama", "llama-hf"]
QWEN2_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class BytePairs:
    """A byte-level BPE vocabulary without its special tokens."""

    tokens: tuple[str, ...]  # in the order of their ids
    merges: tuple[str, ...]  # "left right", the first to be merged first


def write_tokenizer(
    out: Path, family: Kind, size: Size = "small", vocabularies: Path | None = None
) -> Vocabulary:
    """Writes the files of `family`'s tokenizer into `out`.

    `vocabularies` is llama.cpp's `models` folder, with `ggml-vocab-*.gguf`; `real` needs it.
    """
    out.mkdir(parents=True, exist_ok=True)
    if size == "small":
        source = None
    elif vocabularies is None:
        raise ValueError("a real vocabulary needs llama.cpp's models folder")
    else:
        source = vocabularies
    if family == "phi3":
        return write_phi3(out, pieces_of(source, "phi-3") if source else learn_pieces())
    if family in ("llama", "llama-hf"):
        pieces = pieces_of(source, "llama-spm") if source else learn_pieces()
        return write_llama_hf(out, pieces) if family == "llama-hf" else write_llama(out, pieces)
    if family == "qwen2":
        pairs = _pairs_of(source, "qwen2", 151643) if source else _learn_pairs(qwen2=True)
        return _write_qwen2(out, pairs)
    pairs = _pairs_of(source, "gpt-2", 50256) if source else _learn_pairs(qwen2=False)
    return _write_codegen(out, pairs, () if family == "phi2-plain" else ("<pad>", "<image>"))


def _write_codegen(out: Path, pairs: BytePairs, imp: tuple[str, ...]) -> Vocabulary:
    """Phi-2's tokenizer: GPT-2's, then runs of spaces and of tabs; and `imp`'s two tokens."""
    end = len(pairs.tokens)
    runs = [" " * n for n in range(31, 1, -1)] + ["\t" * n for n in range(9, 1, -1)]
    added = [added_token(end, "<|endoftext|>")]
    added += [
        added_token(end + 1 + i, r, special=False, normalized=True) for i, r in enumerate(runs)
    ]
    added += [added_token(end + 1 + len(runs) + i, t) for i, t in enumerate(imp)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    vocabulary = {text: i for i, text in enumerate((*pairs.tokens, "<|endoftext|>"))}
    _write_bpe(out, vocabulary, pairs.merges, added, {**level, "use_regex": True}, None)
    write_json(out / "added_tokens.json", {t["content"]: t["id"] for t in added[1:]})
    settings = {
        "tokenizer_class": "CodeGenTokenizer",
        "add_prefix_space": False,
        "model_max_length": 2048,
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<pad>" if imp else None,
    }
    write_settings(out, settings, added)
    last = added[-1]["id"]
    return Vocabulary(last + 1, frozenset(range(end, last + 1)), end, last if imp else None)


def _write_qwen2(out: Path, pairs: BytePairs) -> Vocabulary:
    end = len(pairs.tokens)
    texts = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    added = [added_token(end + i, text) for i, text in enumerate(texts)]
    split = {"type": "Split", "pattern": {"Regex": QWEN2_REGEX}, "behavior": "Isolated"}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    before = {
        "type": "Sequence",
        "pretokenizers": [{**split, "invert": False}, {**level, "use_regex": False}],
    }
    vocabulary = {text: i for i, text in enumerate(pairs.tokens)}
    _write_bpe(out, vocabulary, pairs.merges, added, before, {"type": "NFC"})
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_prefix_space": False,
        "model_max_length": 32768,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "chat_template": FOREIGN_TEMPLATE,
    }
    write_settings(out, settings, added)
    return Vocabulary(end + 3, frozenset(range(end, end + 3)), end + 2, None)


def _write_bpe(
    out: Path,
    vocabulary: dict[str, int],
    merges: tuple[str, ...],
    added: list[Added],
    pre_tokenizer: dict[str, Any],
    normalizer: dict[str, Any] | None,
) -> None:
    """tokenizer.json of a byte-level BPE, and the slow tokenizer's vocab.json and merges.txt."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": {**level, "use_regex": False},
        "decoder": {**level, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": list(merges),
        },
    }
    write_json(out / "tokenizer.json", document)
    write_json(out / "vocab.json", vocabulary)
    text = "".join(f"{line}\n" for line in ("#version: 0.2", *merges))
    (out / "merges.txt").write_text(text, encoding="utf-8")


def _pairs_of(vocabularies: Path, name: str, tokens: int) -> BytePairs:
    fields = gguf_fields(vocabularies, name, "tokens", "merges")
    return BytePairs(tuple(fields["tokens"][:tokens]), tuple(fields["merges"]))


def _learn_pairs(*, qwen2: bool) -> BytePairs:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not qwen2)
    split = pre_tokenizers.Split(Regex(QWEN2_REGEX), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level]) if qwen2 else level
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + SMALL_MERGES, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    vocabulary, merges = learned(tokenizer)
    return BytePairs(tuple(vocabulary), tuple(" ".join(pair) for pair in merges))
