"""What the tokenizers of both kinds share: the text they are learned from, and their JSON files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Size = Literal["small", "real"]
Added = dict[str, Any]
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
    image: int | None  # id of `<image>`, where the tokenizer has one


def added_token(
    number: int, text: str, *, special: bool = True, rstrip: bool = False, normalized: bool = False
) -> Added:
    whole = added_text(text, rstrip=rstrip, normalized=normalized)
    return {"id": number, **whole, "special": special}


def added_text(text: str, *, rstrip: bool = False, normalized: bool = False) -> dict[str, Any]:
    return {
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": rstrip,
        "normalized": normalized,
    }


def write_settings(out: Path, settings: dict[str, Any], added: list[Added]) -> None:
    decoder = {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in added}
    whole = {"added_tokens_decoder": decoder, "clean_up_tokenization_spaces": False, **settings}
    write_json(out / "tokenizer_config.json", whole)
    names = {k: v for k, v in settings.items() if k.endswith("_token") and isinstance(v, str)}
    write_json(out / "special_tokens_map.json", names)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def gguf_fields(vocabularies: Path, name: str, *wanted: str) -> dict[str, list[Any]]:
    import gguf

    reader = gguf.GGUFReader(vocabularies / f"ggml-vocab-{name}.gguf")
    return {key: list(reader.fields[f"tokenizer.ggml.{key}"].contents()) for key in wanted}


def learned(tokenizer: Any) -> tuple[list[str], list[list[str]]]:
    """(tokens in the order of their ids, merges by rank) of a trained `tokenizers.Tokenizer`."""
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].__getitem__), model["merges"]
