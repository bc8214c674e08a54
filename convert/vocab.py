"""A checkpoint's tokenizer files as the vocabulary of a GGUF.

Token types decide what llama.cpp does with a token: CONTROL is matched only where special tokens
are parsed and prints nothing, USER_DEFINED is matched everywhere and prints itself, UNUSED fills
the rows of the embedding table that have no token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import TokenType

from imp_deploy.convert.families.base import Family, short
from imp_deploy.convert.sentencepiece_file import read_pieces
from imp_deploy.convert.tokenizer_files import (
    Added,
    added_tokens,
    ids_of,
    optional,
    special_texts,
    text_of,
)
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
)
# Texts that llama.cpp makes control tokens of, whatever their type says (`src/llama-vocab.cpp`),
# and that may be ordinary tokens of a byte-level vocabulary; Qwen's has `</s>`.
_TAKEN_FOR_CONTROL = frozenset(
    ["</s>", "<eos>", "[EOS]", "<EOT>", "_<EOT>", "[EOT]", "<PAD>", "[PAD]", "<PRE>", "<SUF>"]
)
_ADDED_SCORE = -1000.0
_UNUSED_SCORE = -10000.0
# The split patterns of the two byte-level tokenizers, as llama.cpp's pre-tokenizers of these names
# implement them. GPT-2's comes without a pattern, as ByteLevel(use_regex=True).
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Token:
    text: str
    score: float
    type: TokenType


@dataclass(frozen=True)
class Vocabulary:
    """`tokens` has one entry per row of the embedding table. `special`: ids by GGUF key."""

    model: str
    pre: str
    tokens: tuple[Token, ...]
    merges: tuple[str, ...]
    special: Mapping[str, int]
    add_bos: bool
    add_space_prefix: bool | None


def read_vocabulary(folder: Path, family: Family, rows: int) -> Vocabulary:
    """The vocabulary for an embedding table of `rows` rows."""
    if family.tokenizer == "spm":
        return _read_spm(folder, family, rows)
    return _read_bpe(folder, family, rows)


def _read_bpe(folder: Path, family: Family, rows: int) -> Vocabulary:
    path = folder / "tokenizer.json"
    if path.is_file():
        document = read_json_object(path)
        ids, merges = _bpe_model(document.get("model"), path)
        _check_split(document, family, path)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        ids = ids_of(read_json_object(folder / "vocab.json"), folder / "vocab.json")
        merges = _read_merges(folder / "merges.txt")
        path = folder / "merges.txt"
    else:
        raise _no_tokenizer(folder, "tokenizer.json, or vocab.json with merges.txt")
    specials, extra = special_texts(folder), added_tokens(folder)
    _check_merges(ids, merges, specials | {added.text for added in extra.values()}, path)
    tokens: dict[int, Token] = {i: _bpe_token(t, i, specials) for t, i in ids.items()}
    for added in extra.values():
        _check_free(tokens, added, folder)
        kind = TokenType.CONTROL if added.special else TokenType.USER_DEFINED
        tokens[added.id] = Token(added.text, 0.0, kind)
    return Vocabulary(
        model="gpt2",
        pre=family.pre_tokenizer,
        tokens=_fill(tokens, rows, folder),
        merges=merges,
        special=_special_ids(folder, family, tokens),
        add_bos=_add_bos(folder, family),
        add_space_prefix=None,
    )


def _bpe_token(text: str, i: int, specials: Set[str]) -> Token:
    """An ordinary token that llama.cpp would take for a control token goes under another name: the
    pre-tokenizer splits such texts, so the tokenizer itself never gives this token."""
    if text in specials:
        return Token(text, 0.0, TokenType.CONTROL)
    if text in _TAKEN_FOR_CONTROL:
        return Token(f"[UNREACHABLE{i}]", 0.0, TokenType.UNUSED)
    return Token(text, 0.0, TokenType.NORMAL)


def _read_spm(folder: Path, family: Family, rows: int) -> Vocabulary:
    path = folder / "tokenizer.model"
    if path.is_file():
        pieces = read_pieces(path)
        tokens = {i: Token(p.text, p.score, p.type) for i, p in enumerate(pieces)}
    elif (folder / "tokenizer.json").is_file():
        tokens = _spm_from_json(folder / "tokenizer.json")
    else:
        raise _no_tokenizer(folder, "tokenizer.model or tokenizer.json")
    for added in added_tokens(folder).values():
        _check_free(tokens, added, folder)
        old = tokens.get(added.id)
        if old is not None and old.type != TokenType.NORMAL:
            continue  # <unk>, <s> and </s> keep the types of the model file
        kind = TokenType.CONTROL if added.special else TokenType.USER_DEFINED
        tokens[added.id] = Token(added.text, _ADDED_SCORE, kind)
    return Vocabulary(
        model="llama",
        pre=family.pre_tokenizer,
        tokens=_fill(tokens, rows, folder),
        merges=(),
        special=_special_ids(folder, family, tokens),
        add_bos=_add_bos(folder, family),
        add_space_prefix=True,
    )


def _no_tokenizer(folder: Path, files: str) -> BadInput:
    return BadInput(f"{folder} has no tokenizer ({files}); download the tokenizer files too.")


def _bpe_model(model: Any, path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        raise BadInput(f"{path} holds no BPE model; check that it belongs to this checkpoint.")
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise BadInput(f"{path} holds no merges; download it again.")
    return ids_of(model.get("vocab"), path), tuple(_merge(m, path) for m in merges)


def _merge(value: Any, path: Path) -> str:
    """Newer files hold pairs, older ones "left right"; byte-level tokens never contain a space."""
    parts = value.split(" ") if isinstance(value, str) else value
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) for p in parts):
        raise BadInput(f"{path} holds a broken merge {short(value)}; download it again.")
    return " ".join(parts)


def _read_merges(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error}); download it again.") from None
    return tuple(_merge(line, path) for line in lines if line and not line.startswith("#version"))


def _check_merges(
    ids: Mapping[str, int], merges: tuple[str, ...], extra: set[str], path: Path
) -> None:
    """Every byte-level token of more than one byte is made by a merge; a file that was cut short
    makes fewer, and splits text in another way."""
    made = {merge.replace(" ", "") for merge in merges}
    if lost := [t for t in ids if len(t) > 1 and t not in made and t not in extra]:
        raise BadInput(
            f"{path} lacks the merges of {len(lost)} tokens, the first is {lost[0]!r}; download it "
            "again."
        )


def _check_free(tokens: Mapping[int, Token], added: Added, folder: Path) -> None:
    old = tokens.get(added.id)
    if old is not None and old.text != added.text:
        raise BadInput(
            f"{folder}: the added token {added.text!r} has the id {added.id} of {old.text!r}; "
            "download the tokenizer files again."
        )


def _check_split(document: dict[str, Any], family: Family, path: Path) -> None:
    """The file's pre-tokenizer must be the one that llama.cpp will use under the family's name."""
    patterns = [
        step.get("pattern")
        for step in _steps(document.get("pre_tokenizer"), "pretokenizers")
        if step.get("type") == "Split"
    ]
    expected = {"phi-2": [], "qwen2": [{"Regex": _QWEN2_SPLIT}]}[family.pre_tokenizer]
    if patterns != expected:
        raise BadInput(
            f"{path} splits text in another way than {family.name} does, so token ids would "
            "differ; check that the tokenizer belongs to this checkpoint."
        )


def _steps(value: Any, key: str) -> list[dict[str, Any]]:
    """A tokenizer.json component as a list, whether it is one step or a sequence."""
    if not isinstance(value, dict):
        return []
    if value.get("type") == "Sequence":
        steps = value.get(key)
        return [s for s in steps if isinstance(s, dict)] if isinstance(steps, list) else []
    return [value]


def _spm_from_json(path: Path) -> dict[int, Token]:
    """Without `tokenizer.model` the scores are rebuilt: merges are made in order of rank, so a
    piece's score is minus the rank of the merge that makes it."""
    document = read_json_object(path)
    ids, merges = _bpe_model(document.get("model"), path)
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", ""), rank)
    tokens: dict[int, Token] = {}
    for text, i in ids.items():
        if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            tokens[i] = Token(text, 0.0, TokenType.BYTE)
        else:
            tokens[i] = Token(text, -float(ranks.get(text, len(ranks))), TokenType.NORMAL)
    for text, kind in (
        ("<unk>", TokenType.UNKNOWN),
        ("<s>", TokenType.CONTROL),
        ("</s>", TokenType.CONTROL),
    ):
        if text in ids:
            tokens[ids[text]] = Token(text, 0.0, kind)
    return tokens


def _fill(tokens: dict[int, Token], rows: int, folder: Path) -> tuple[Token, ...]:
    """One token per row. The tables of these models have more rows than there are tokens."""
    if not tokens:
        raise _no_tokenizer(folder, "the one there is empty")
    if max(tokens) >= rows:
        over = tokens[max(tokens)]
        raise BadInput(
            f"{folder}: the token {over.text!r} has id {short(max(tokens))} and the embedding "
            f"table has {rows} rows; download tokenizer and weights of one checkpoint."
        )
    double, count = Counter(t.text for t in tokens.values()).most_common(1)[0]
    if count > 1:
        raise BadInput(
            f"{folder}: {count} tokens have the text {double!r}; download the tokenizer again."
        )
    return tuple(
        tokens.get(i, Token(f"[PAD{i}]", _UNUSED_SCORE, TokenType.UNUSED)) for i in range(rows)
    )


def _special_ids(folder: Path, family: Family, tokens: dict[int, Token]) -> dict[str, int]:
    by_text = {token.text: i for i, token in tokens.items()}
    config = optional(folder / "tokenizer_config.json")
    special_map = optional(folder / "special_tokens_map.json")
    special: dict[str, int] = {}
    for role, key in (
        ("bos", "bos_token_id"),
        ("unk", "unknown_token_id"),
        ("pad", "padding_token_id"),
    ):
        text = text_of(config.get(f"{role}_token")) or text_of(special_map.get(f"{role}_token"))
        if text is not None and text in by_text:
            special[key] = by_text[text]
    missing = [text for text in family.end_tokens if text not in by_text]
    if missing:
        raise BadInput(
            f"{folder}: the tokenizer lacks {missing}, which end an answer of {family.name}; check "
            "that it belongs to this checkpoint."
        )
    # The turn's end first: generation must stop there whatever eos_token the files name.
    special["eos_token_id"] = by_text[family.end_tokens[0]]
    return special


def _add_bos(folder: Path, family: Family) -> bool:
    """`add_bos_token` where the files say it, else what the family's tokenizer class does."""
    stated = optional(folder / "tokenizer_config.json").get("add_bos_token")
    return stated if isinstance(stated, bool) else family.add_bos
