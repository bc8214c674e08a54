"""Tokenizers that are missing, broken, or of another model: wrong ids are worse than no model."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.small import complaint, copied, edit_json, one_sentence, refused

Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize("kind", ["phi2", "qwen2", "phi3"])
def test_missing_tokenizer(kind: str, made: Path, tmp_path: Path, out: Path) -> None:
    """The message must say which files to download."""
    checkpoint = copied(made / kind, tmp_path / kind)
    for name in ("tokenizer.json", "tokenizer.model", "vocab.json"):
        (checkpoint / name).unlink(missing_ok=True)
    refused(checkpoint, out, str(checkpoint), "tokenizer.", "download")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: t.pop("model"), id="no model"),
        pytest.param(lambda t: t.update(model=[]), id="model is a list"),
        pytest.param(lambda t: t["model"].update(type="Unigram"), id="another kind"),
        pytest.param(lambda t: t["model"].update(vocab=[["a", 0]]), id="vocab is a list"),
        pytest.param(lambda t: t["model"]["vocab"].update(a="0"), id="id is a text"),
        pytest.param(lambda t: t["model"]["vocab"].update(a=-1), id="negative id"),
        pytest.param(lambda t: t["model"]["vocab"].update(a=10**300), id="huge id"),
        pytest.param(lambda t: t["model"]["vocab"].update(zz=0), id="two tokens of one id"),
        pytest.param(lambda t: t["model"]["vocab"].update(qqqq=570), id="token without a merge"),
        pytest.param(lambda t: t["model"].update(merges={"a": "b"}), id="merges are an object"),
        pytest.param(lambda t: t["model"]["merges"].append(["a", 1]), id="merge of a number"),
        pytest.param(lambda t: t["model"]["merges"].append("abc"), id="merge of one"),
        pytest.param(lambda t: t["model"]["merges"].append(None), id="merge is null"),
        pytest.param(lambda t: t["model"]["merges"].pop(), id="merges cut short"),
        pytest.param(lambda t: t.update(pre_tokenizer={"type": "Split"}), id="another split"),
        pytest.param(lambda t: t.update(added_tokens={"a": 1}), id="added tokens are an object"),
        pytest.param(lambda t: t["added_tokens"].append(5), id="added token is a number"),
        pytest.param(lambda t: t["added_tokens"][0].pop("content"), id="added token has no text"),
        pytest.param(lambda t: t["added_tokens"][0].update(content=5), id="added text is a number"),
        pytest.param(lambda t: t["added_tokens"][0].update(id=-1), id="added id is negative"),
        pytest.param(lambda t: t["added_tokens"][0].update(id=1.5), id="added id is a fraction"),
        pytest.param(lambda t: t["added_tokens"][0].update(id=0), id="added id is taken"),
        pytest.param(lambda t: t["added_tokens"][0].update(special="no"), id="special is a text"),
        pytest.param(lambda t: t["added_tokens"][0].update(id=99999), id="id beyond the rows"),
    ],
)
def test_wrong_tokenizer_json(change: Change, checkpoint: Path, out: Path) -> None:
    """Each of these would give other token ids than the model was trained with, or a traceback."""
    edit_json(checkpoint / "tokenizer.json", change)
    refused(checkpoint, out, str(checkpoint))


def test_merges_cut_short(checkpoint: Path, out: Path) -> None:
    """A text file that breaks off at a line's end looks whole, and splits words elsewhere."""
    (checkpoint / "tokenizer.json").unlink()
    path = checkpoint / "merges.txt"
    path.write_text("\n".join(path.read_text("utf-8").splitlines()[:100]) + "\n", "utf-8")
    refused(checkpoint, out, str(path), "lacks the merges", "download it again")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"#version: 0.2\na b c\n", b"#version\nabc\n"])
def test_broken_merges(content: bytes, checkpoint: Path, out: Path) -> None:
    """The older pair of files is read where there is no tokenizer.json."""
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "merges.txt").write_bytes(content)
    refused(checkpoint, out, str(checkpoint / "merges.txt"))


def test_end_token_missing(checkpoint: Path, out: Path) -> None:
    """Without it no answer ever ends."""
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        path = checkpoint / name
        path.write_text(path.read_text("utf-8").replace("<|endoftext|>", "<|other|>"), "utf-8")
    refused(checkpoint, out, "<|endoftext|>", "check that it belongs to this checkpoint")


def test_tokenizer_of_another_family(made: Path, checkpoint: Path, out: Path) -> None:
    """Qwen's tokenizer splits numbers in another way: valid ids, and worse answers."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).write_bytes((made / "qwen2" / name).read_bytes())
    refused(checkpoint, out, str(checkpoint / "tokenizer.json"), "splits text in another way")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff" * 200_000, id="a number without end"),
        pytest.param(b"\x0a\xff\xff\xff\xff\x0f", id="piece longer than the file"),
        pytest.param(b"\x0a\x02\x0a\x00", id="piece without a text"),
        pytest.param(b"\x0a\x08\x0a\x01a\x15\x00\x00\xc0\x7f", id="score is no number"),
        pytest.param(b"\x0a\x05\x0a\x01a\x18\x09", id="unknown type"),
        pytest.param(b"\x0b\x0c", id="groups"),
        pytest.param(b'{"model": 1}', id="JSON"),
    ],
)
def test_broken_sentencepiece(content: bytes, made: Path, tmp_path: Path, out: Path) -> None:
    """A binary file without a checksum: nonsense in it must not hang or become tokens."""
    checkpoint = copied(made / "phi3", tmp_path / "phi3")
    (checkpoint / "tokenizer.model").write_bytes(content)
    refused(checkpoint, out, str(checkpoint / "tokenizer.model"), "download it again")


@pytest.mark.parametrize("kind", ["phi2", "phi3"])
def test_damaged_tokenizer_files(kind: str, made: Path, tmp_path: Path) -> None:
    """Random damage is refused or harmless, and never a traceback."""
    checkpoint = copied(made / kind, tmp_path / kind)
    chance = random.Random(0)
    paths = [p for p in checkpoint.iterdir() if p.suffix in (".json", ".txt", ".model")]
    for path in sorted(paths):
        good = path.read_bytes()
        for _ in range(25):
            damaged = bytearray(good)
            for _ in range(chance.choice((1, 4))):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            path.write_bytes(damaged[: chance.choice((len(damaged), chance.randrange(len(good))))])
            message = complaint(checkpoint)
            assert not message or one_sentence(message), message
        path.write_bytes(good)


def test_lone_surrogate_in_a_token(checkpoint: Path, out: Path) -> None:
    """JSON can write half a character; no GGUF can hold it."""
    path = checkpoint / "tokenizer.json"
    document = json.loads(path.read_text("utf-8"))
    document["added_tokens"][-1]["content"] = "\udc80"
    path.write_text(json.dumps(document), "utf-8")
    refused(checkpoint, out, str(path))
