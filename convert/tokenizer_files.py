"""What a checkpoint's tokenizer files say about added tokens and roles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from imp_deploy.convert.families.base import short
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

T = TypeVar("T", list[Any], dict[str, Any])


@dataclass(frozen=True)
class Added:
    """`special`: matched only where special tokens are parsed, and not printed."""

    id: int
    text: str
    special: bool


def added_tokens(folder: Path) -> dict[int, Added]:
    """Added tokens from every file that may hold them; the more explicit file wins."""
    found: dict[int, Added] = {}
    path = folder / "added_tokens.json"
    if path.is_file():
        specials = special_texts(folder)
        for text, i in ids_of(read_json_object(path), path).items():
            found[i] = Added(i, text, text in specials)
    path = folder / "tokenizer_config.json"
    for key, entry in part(path, "added_tokens_decoder", {}).items():
        _add(found, int(key) if re.fullmatch("[0-9]{1,9}", key) else key, entry, path)
    path = folder / "tokenizer.json"
    for entry in part(path, "added_tokens", []):
        _add(found, entry.get("id") if isinstance(entry, dict) else None, entry, path)
    return found


def _add(found: dict[int, Added], key: Any, entry: Any, path: Path) -> None:
    text = entry.get("content") if isinstance(entry, dict) else None
    special = entry.get("special", False) if isinstance(entry, dict) else None
    if type(key) is not int or key < 0 or not isinstance(text, str) or type(special) is not bool:
        raise BadInput(f"{path} has a broken added token {short(entry)}; download it again.")
    found[key] = Added(key, text, special)


def special_texts(folder: Path) -> set[str]:
    """The tokens that the files give a role."""
    path = folder / "tokenizer_config.json"
    config = optional(path)
    values = [text_of(config.get(f"{role}_token")) for role in ("bos", "eos", "pad", "unk")]
    values += [text_of(v) for v in part(path, "additional_special_tokens", [])]
    values += [text_of(v) for v in optional(folder / "special_tokens_map.json").values()]
    return {v for v in values if v is not None}


def part(path: Path, key: str, default: T) -> T:
    """What a tokenizer file says under `key`, of the default's type; the default for nothing."""
    value = optional(path).get(key)
    if value is None:
        return default
    if not isinstance(value, type(default)):
        raise BadInput(f"{path}: {key} is {short(value)}, of a wrong type; download it again.")
    return value


def text_of(value: Any) -> str | None:
    """A token in a tokenizer file: the text itself, or an object around it."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def optional(path: Path) -> dict[str, Any]:
    """The file's object; an empty one where there is no such file."""
    return read_json_object(path) if path.is_file() else {}


def ids_of(value: Any, path: Path) -> dict[str, int]:
    """A table of tokens with their ids."""
    if not isinstance(value, dict) or not all(type(i) is int and i >= 0 for i in value.values()):
        raise BadInput(f"{path} holds no table of token ids; download it again.")
    if len(set(value.values())) != len(value):
        raise BadInput(f"{path} gives one id to two tokens; download it again.")
    return value
