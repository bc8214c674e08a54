"""Tokenizer files as the real checkpoints have them, whole or cut down to a few hundred tokens.

`real` takes the vocabularies from llama.cpp's vocabulary-only GGUFs, so the ids are those of the
published models. `small` learns a vocabulary of the same kind from the prompts, and needs no file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Family = Literal["phi2", "qwen2", "phi3"]
Size = Literal["small", "real"]
Added = dict[str, Any]

QWEN2_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
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
SMALL_MERGES = 220
CORPUS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. USER: \n",
    "What is in the picture? What colour is the car behind the tree? How many people are there? "
    "Answer the question using a single word or phrase. ASSISTANT: The picture shows a red circle "
    "and 2 blue squares on a white table.</s>",
    "system\n user\n assistant\n Describe the image in detail, please. There are 13 dogs, 47 cats.",
)
# Not Imp's prompt: an exporter that copies it into the file instead of Imp's own is wrong.
FOREIGN_TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"


@dataclass(frozen=True)
class Vocabulary:
    """What the rest of a checkpoint has to know of its tokenizer."""

    tokens: int  # ids in use, 0 .. tokens - 1
    special: frozenset[int]  # added tokens, control and byte pieces: no ordinary text
    eos: int
    image: int | None  # id of `<image>`; the Qwen and Phi-3 tokenizers have none


@dataclass(frozen=True)
class BytePairs:
    """A byte-level BPE vocabulary without its special tokens."""

    tokens: tuple[str, ...]  # in the order of their ids
    merges: tuple[str, ...]  # "left right", the first to be merged first


@dataclass(frozen=True)
class Piece:
    text: str
    score: float
    type: int


def write_tokenizer(
    out: Path, family: Family, size: Size = "small", vocabularies: Path | None = None
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
        return _write_phi3(out, _pieces_of(source) if source else _learn_pieces())
    if family == "qwen2":
        pairs = _pairs_of(source, "qwen2", 151643) if source else _learn_pairs(qwen2=True)
        return _write_qwen2(out, pairs)
    pairs = _pairs_of(source, "gpt-2", 50256) if source else _learn_pairs(qwen2=False)
    return _write_codegen(out, pairs)


def _write_codegen(out: Path, pairs: BytePairs) -> Vocabulary:
    """Phi-2's tokenizer with Imp's two tokens: GPT-2's, then runs of spaces and of tabs."""
    end = len(pairs.tokens)
    runs = [" " * n for n in range(31, 1, -1)] + ["\t" * n for n in range(9, 1, -1)]
    added = [_added(end, "<|endoftext|>")]
    added += [_added(end + 1 + i, r, special=False, normalized=True) for i, r in enumerate(runs)]
    added += [_added(end + 1 + len(runs) + i, t) for i, t in enumerate(("<pad>", "<image>"))]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    vocabulary = {text: i for i, text in enumerate((*pairs.tokens, "<|endoftext|>"))}
    _write_bpe(out, vocabulary, pairs.merges, added, {**level, "use_regex": True}, None)
    _write_json(out / "added_tokens.json", {t["content"]: t["id"] for t in added[1:]})
    settings = {
        "tokenizer_class": "CodeGenTokenizer",
        "add_prefix_space": False,
        "model_max_length": 2048,
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<pad>",
    }
    _write_settings(out, settings, added)
    last = added[-1]["id"]
    return Vocabulary(last + 1, frozenset(range(end, last + 1)), end, last)


def _write_qwen2(out: Path, pairs: BytePairs) -> Vocabulary:
    end = len(pairs.tokens)
    texts = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    added = [_added(end + i, text) for i, text in enumerate(texts)]
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
    _write_settings(out, settings, added)
    return Vocabulary(end + 3, frozenset(range(end, end + 3)), end + 2, None)


def _write_phi3(out: Path, pieces: list[Piece]) -> Vocabulary:
    """Llama's sentencepiece model, as such and as tokenizer.json, and Phi-3's chat tokens."""
    (out / "tokenizer.model").write_bytes(sentencepiece_model(pieces))
    base = len(pieces)
    added = [_added(0, "<unk>"), _added(1, "<s>"), _added(2, "</s>", special=False, rstrip=True)]
    added += [
        _added(base + i, text, rstrip=text != "<|endoftext|>") for i, text in enumerate(PHI3_ADDED)
    ]
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = [{"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB")]
    document = {
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
    _write_json(out / "tokenizer.json", document)
    _write_json(out / "added_tokens.json", {t["content"]: t["id"] for t in added[3:]})
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
    _write_settings(out, settings, added)
    ordinary = {i for i, piece in enumerate(pieces) if piece.type == NORMAL}
    tokens = base + len(PHI3_ADDED)
    return Vocabulary(tokens, frozenset(range(tokens)) - ordinary, base, None)


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


def _added(
    number: int, text: str, *, special: bool = True, rstrip: bool = False, normalized: bool = False
) -> Added:
    return {
        "id": number,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": rstrip,
        "normalized": normalized,
        "special": special,
    }


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
    _write_json(out / "tokenizer.json", document)
    _write_json(out / "vocab.json", vocabulary)
    text = "".join(f"{line}\n" for line in ("#version: 0.2", *merges))
    (out / "merges.txt").write_text(text, encoding="utf-8")


def _write_settings(out: Path, settings: dict[str, Any], added: list[Added]) -> None:
    decoder = {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in added}
    whole = {"added_tokens_decoder": decoder, "clean_up_tokenization_spaces": False, **settings}
    _write_json(out / "tokenizer_config.json", whole)
    names = {k: v for k, v in settings.items() if k.endswith("_token") and isinstance(v, str)}
    _write_json(out / "special_tokens_map.json", names)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def _pairs_of(vocabularies: Path, name: str, tokens: int) -> BytePairs:
    fields = _gguf_fields(vocabularies, name, "tokens", "merges")
    return BytePairs(tuple(fields["tokens"][:tokens]), tuple(fields["merges"]))


def _pieces_of(vocabularies: Path) -> list[Piece]:
    """Llama's 32000; the converter overwrote the scores and types of the first three."""
    fields = _gguf_fields(vocabularies, "phi-3", "tokens", "scores", "token_type")
    rows = zip(fields["tokens"], fields["scores"], fields["token_type"], strict=True)
    return [*_first_pieces(), *(Piece(*row) for row in list(rows)[3:32000])]


def _gguf_fields(vocabularies: Path, name: str, *wanted: str) -> dict[str, list[Any]]:
    import gguf

    reader = gguf.GGUFReader(vocabularies / f"ggml-vocab-{name}.gguf")
    return {key: list(reader.fields[f"tokenizer.ggml.{key}"].contents()) for key in wanted}


def _first_pieces() -> list[Piece]:
    return [Piece("<unk>", 0.0, UNKNOWN), Piece("<s>", 0.0, CONTROL), Piece("</s>", 0.0, CONTROL)]


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
    vocabulary, merges = _learned(tokenizer)
    return BytePairs(tuple(vocabulary), tuple(" ".join(pair) for pair in merges))


def _learn_pieces() -> list[Piece]:
    """Specials, bytes, the pair of spaces, merges by rank, characters: Llama's order."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    alphabet = ["▁", *(chr(code) for code in range(33, 127))]
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + SMALL_MERGES, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([line.replace("\n", " ") for line in CORPUS], trainer)
    _, merges = _learned(tokenizer)
    made = dict.fromkeys("".join(pair) for pair in merges)
    scored = [Piece(text, -1.0 - i, NORMAL) for i, text in enumerate([*made, *alphabet])]
    return [
        *_first_pieces(),
        *(Piece(f"<0x{code:02X}>", 0.0, BYTE) for code in range(256)),
        Piece("▁▁", -1e9, NORMAL),
        *scored,
    ]


def _learned(tokenizer: Any) -> tuple[list[str], list[list[str]]]:
    """(tokens in the order of their ids, merges by rank) of a trained `tokenizers.Tokenizer`."""
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].__getitem__), model["merges"]
