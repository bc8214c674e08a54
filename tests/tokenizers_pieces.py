"""Llama's and Phi-3's tokenizers: sentencepiece models, and tokenizer.json made of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tokenizers_shared import (
    CORPUS,
    FOREIGN_TEMPLATE,
    SMALL_MERGES,
    Added,
    Vocabulary,
    added_text,
    added_token,
    gguf_fields,
    learned,
    write_json,
    write_settings,
)

PHI3_ADDED = (
    "<|endoftext|>",
    "<|assistant|>",
    "<|placeholder1|>",
    "<|placeholder2|>",
    "<|placeholder3|>",
    "<|placeholder4|>",
    "<|system|>",
    "<|end|>",
    "<|placeholder5|>",
    "<|placeholder6|>",
    "<|user|>",
)
# The types of a sentencepiece model, and of a GGUF.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


@dataclass(frozen=True)
class Piece:
    text: str
    score: float
    type: int


def write_phi3(out: Path, pieces: list[Piece]) -> Vocabulary:
    """Llama's sentencepiece model, as such and as tokenizer.json, and Phi-3's chat tokens."""
    (out / "tokenizer.model").write_bytes(sentencepiece_model(pieces))
    base = len(pieces)
    added = [
        added_token(0, "<unk>"),
        added_token(1, "<s>"),
        added_token(2, "</s>", special=False, rstrip=True),
    ]
    added += [
        added_token(base + i, text, rstrip=text != "<|endoftext|>")
        for i, text in enumerate(PHI3_ADDED)
    ]
    write_json(out / "tokenizer.json", _spm_document(pieces, added))
    write_json(out / "added_tokens.json", {t["content"]: t["id"] for t in added[3:]})
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": False,
        "model_max_length": 4096,
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<unk>",
        "chat_template": FOREIGN_TEMPLATE,
    }
    write_settings(out, settings, added)
    tokens = base + len(PHI3_ADDED)
    return Vocabulary(tokens, _not_ordinary(pieces, tokens), base, None)


def write_llama(out: Path, pieces: list[Piece]) -> Vocabulary:
    """As LLaVA-1.5 and MobileVLM were published: the sentencepiece model, and no tokenizer.json."""
    (out / "tokenizer.model").write_bytes(sentencepiece_model(pieces))
    roles = {
        f"{role}_token": {"__type": "AddedToken", **added_text(text)}
        for role, text in (("bos", "<s>"), ("eos", "</s>"), ("unk", "<unk>"))
    }
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        **roles,
        "clean_up_tokenization_spaces": False,
        "legacy": False,
        "model_max_length": 2048,
        "pad_token": None,
        "padding_side": "right",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
    }
    write_json(out / "tokenizer_config.json", settings)
    names = {role: {k: v for k, v in at.items() if k != "__type"} for role, at in roles.items()}
    write_json(out / "special_tokens_map.json", names | {"pad_token": "<unk>"})
    return Vocabulary(len(pieces), _not_ordinary(pieces, len(pieces)), 2, None)


def write_llama_hf(out: Path, pieces: list[Piece]) -> Vocabulary:
    """As llava-hf publishes it: tokenizer.json too, and `<image>` and `<pad>` behind the pieces."""
    (out / "tokenizer.model").write_bytes(sentencepiece_model(pieces))
    base = len(pieces)
    added = [added_token(0, "<unk>"), added_token(1, "<s>"), added_token(2, "</s>")]
    added += [added_token(base, "<image>"), added_token(base + 1, "<pad>")]
    write_json(out / "tokenizer.json", _spm_document(pieces, added))
    write_json(out / "added_tokens.json", {t["content"]: t["id"] for t in added[3:]})
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": False,
        "model_max_length": 2048,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "chat_template": FOREIGN_TEMPLATE,
    }
    write_settings(out, settings, added)
    return Vocabulary(base + 2, _not_ordinary(pieces, base + 2), 2, base)


def pieces_of(vocabularies: Path, name: str) -> list[Piece]:
    """Llama's 32000; the converter overwrote the scores and types of the first three."""
    fields = gguf_fields(vocabularies, name, "tokens", "scores", "token_type")
    rows = zip(fields["tokens"], fields["scores"], fields["token_type"], strict=True)
    return [*_first_pieces(), *(Piece(*row) for row in list(rows)[3:32000])]


def learn_pieces() -> list[Piece]:
    """Specials, bytes, the pair of spaces, merges by rank, characters: Llama's order."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    alphabet = ["▁", *(chr(code) for code in range(33, 127))]
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + SMALL_MERGES, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([line.replace("\n", " ") for line in CORPUS], trainer)
    _, merges = learned(tokenizer)
    made = dict.fromkeys("".join(pair) for pair in merges)
    scored = [Piece(text, -1.0 - i, NORMAL) for i, text in enumerate([*made, *alphabet])]
    return [
        *_first_pieces(),
        *(Piece(f"<0x{code:02X}>", 0.0, BYTE) for code in range(256)),
        Piece("▁▁", -1e9, NORMAL),
        *scored,
    ]


def sentencepiece_merges(pieces: list[Piece]) -> list[str]:
    """The merges with which BPE gives sentencepiece's ids: every way to put a piece together.

    A piece of a higher score is made first, as sentencepiece does; among the ways to make one, the
    longer left part first, as in Hugging Face's conversion.
    """
    scores = {piece.text: piece.score for piece in pieces if piece.type == NORMAL}
    found = [
        (score, cut, text)
        for text, score in scores.items()
        for cut in range(1, len(text))
        if text[:cut] in scores and text[cut:] in scores
    ]
    found.sort(key=lambda merge: merge[:2], reverse=True)
    return [f"{text[:cut]} {text[cut:]}" for _, cut, text in found]


def sentencepiece_model(pieces: Iterable[Piece]) -> bytes:
    """A `ModelProto` of sentencepiece's sentencepiece_model.proto; the numbers are its fields."""
    listed = list(pieces)
    body = b"".join(
        _field(
            1,
            _field(1, piece.text.encode())
            + b"\x15"  # field 2, a float
            + struct.pack("<f", piece.score)
            + _field(3, piece.type),
        )
        for piece in listed
    )
    trainer = {3: 2, 4: len(listed), 35: 1, 40: 0, 41: 1, 42: 2}  # BPE, byte fallback, unk/bos/eos
    names = {45: b"<unk>", 46: b"<s>", 47: b"</s>"}
    body += _field(2, b"".join(_field(k, v) for k, v in (trainer | names).items()))
    # identity; a space is put in front, spaces are kept and escaped as U+2581
    return body + _field(3, _field(1, b"identity") + _field(3, 1) + _field(4, 0) + _field(5, 1))


def _spm_document(pieces: list[Piece], added: list[Added]) -> dict[str, Any]:
    """tokenizer.json of a sentencepiece model; ids equal those of the model file."""
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = [{"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB")]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, text[0]],
            "pair": [bos, text[0], {"SpecialToken": {"id": "<s>", "type_id": 1}}, text[1]],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {piece.text: i for i, piece in enumerate(pieces)},
            "merges": sentencepiece_merges(pieces),
        },
    }


def _not_ordinary(pieces: list[Piece], tokens: int) -> frozenset[int]:
    ordinary = {i for i, piece in enumerate(pieces) if piece.type == NORMAL}
    return frozenset(range(tokens)) - ordinary


def _first_pieces() -> list[Piece]:
    return [Piece("<unk>", 0.0, UNKNOWN), Piece("<s>", 0.0, CONTROL), Piece("</s>", 0.0, CONTROL)]


def _field(number: int, value: int | bytes) -> bytes:
    """One protobuf field: a varint, or length and bytes."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
