"""Token ids in llama.cpp equal those of the checkpoint's own tokenizer in transformers."""

from __future__ import annotations

import ctypes
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from imp_deploy import prompt
from imp_deploy.bundle import load
from imp_deploy.convert.export import export
from imp_deploy.convert.plan import Options
from tests.checkpoints import Sizes, make_checkpoint
from tests.quiet import Quiet

CORPUS = [
    "What is in the picture? It's a dog, isn't it? We'll see; they've GONE. I'D say so.",
    " leading space, double  space,   triple\ttab\t\ttabs\n\nnew\r\nlines \n and trailing  ",
    "图片里有什么?请用中文回答。今天是2024年5月20日,天气晴。",
    "def f(x: int) -> str:\n    if x >= 10:\n        return f'{x:>08.3f}'\n\treturn \"\\n\"",
    "0 1 12 123 1234 12345 3.14159 1,000,000 0xDEADBEEF 1e-10 ½ ² ٣ 四",
    "😀 👩‍👩‍👧‍👦 🇩🇪 naïve café Ångström e\u0301 \u00a0nbsp \u200bzero \ufeffbom Zürich ß Ω",
    "</s> <s> <|endoftext|> <image> <pad> <|im_start|>user <|im_end|> <|end|> <|user|>x <unk>",
    "<|im_start|>system\nA chat.<|im_end|>\n<|im_start|>user\n",
    "<|system|>\nA chat.<|end|>\n<|user|>\n   spaces after<|end|>  \n\n<|assistant|>\n",
    *(f"a{' ' * n}b" for n in (1, 2, 3, 7, 8, 30, 31, 32, 33, 63, 65)),
    *(f"{chr(9) * n}x" for n in (1, 2, 9, 10, 19)),
    "'s 't 're 'VE 'M don'T ''ll '''d \"quoted\" (paren) [x] {y} <tag/> a_b-c/d\\e @#$%^&*~`",
    "",
    "\n",
    "   ",
    "ﬁ ligature, ＦＵＬＬ width, Ａ１, ㎏, ™ № ﷺ",
    "кириллица العربية हिन्दी 日本語 한국어 ไทย עברית",
]


def hugging_face_ids(folder: Path, text: str) -> list[int]:
    from tokenizers import Tokenizer

    ids: list[int] = (
        Tokenizer.from_file(str(folder / "tokenizer.json"))
        .encode(text, add_special_tokens=False)
        .ids
    )
    return ids


class LlamaVocabulary:
    """The vocabulary of a GGUF in the pinned llama.cpp."""

    def __init__(self, path: Path) -> None:
        import llama_cpp

        self._llama: Any = llama_cpp
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        assert self._model
        self.vocab = llama_cpp.llama_model_get_vocab(self._model)

    def ids(self, text: str, *, add_special: bool = False) -> list[int]:
        data = text.encode()
        room = (ctypes.c_int32 * (len(data) + 8))()
        count = self._llama.llama_tokenize(
            self.vocab, data, len(data), room, len(room), add_special, True
        )
        return list(room[:count])

    def ends(self, token: int) -> bool:
        return bool(self._llama.llama_vocab_is_eog(self.vocab, token))


def exported(folder: Path, vocabularies: Path, family: str, *without: str) -> Path:
    """A checkpoint with the published tokenizer on a tiny model, some files removed; its GGUF."""
    checkpoint = make_checkpoint(
        folder / "Imp",
        family=family,  # type: ignore[arg-type]
        naming="hf" if family == "llava" else "train",
        tokenizer="real",
        vocabularies=vocabularies,
        sizes=Sizes(hidden=32, heads=2, layers=1, inner=32, rotary=8),
    )
    for name in without:
        (checkpoint / name).rename(folder / name)
    out = folder / "bundle"
    export(checkpoint, out, Options(bits=(16,), resolutions=(196,)), progress=Quiet())
    return out / "Imp-F16.gguf"


@pytest.mark.parametrize(
    ("family", "without"),
    [
        ("phi2", ()),
        ("phi2", ("tokenizer.json",)),
        ("qwen2", ()),
        ("qwen2", ("tokenizer.json",)),
        ("phi3", ()),
        ("phi3", ("tokenizer.json",)),
        ("phi3", ("tokenizer.model",)),
        ("llava", ()),
        ("llava", ("tokenizer.json",)),
        ("llava", ("tokenizer.model",)),
    ],
)
def test_token_ids_equal_hugging_face(
    family: str, without: tuple[str, ...], vocabularies: Path, tmp_path: Path
) -> None:
    """A wrong pre-tokenizer gives valid but other ids: answers get worse and nothing reports it."""
    gguf = exported(tmp_path, vocabularies, family, *without)
    files = tmp_path if "tokenizer.json" in without else tmp_path / "Imp"
    vocabulary = LlamaVocabulary(gguf)
    spec = load(gguf.parent).prompt
    only_text = dataclasses.replace(spec, template=prompt.QUESTION)
    for text in CORPUS:
        # What the runner is given: filled into the prompt, in the tokenizer's Unicode form.
        filled = prompt.fill(only_text, text) if text.strip() and "<image>" not in text else text
        assert vocabulary.ids(filled) == hugging_face_ids(files, text), repr(text)


@pytest.mark.parametrize(
    ("family", "begins", "ends"),
    [
        ("phi2", [], [50256]),
        ("qwen2", [], [151645, 151643]),
        ("phi3", [1], [32007, 32000]),
        ("llava", [1], [2]),
    ],
)
def test_begin_and_end_tokens(
    family: str, begins: list[int], ends: list[int], vocabularies: Path, tmp_path: Path
) -> None:
    """A missing BOS spoils every answer; a missing end token lets the answer run on."""
    vocabulary = LlamaVocabulary(exported(tmp_path, vocabularies, family))
    assert vocabulary.ids("A", add_special=True) == begins + vocabulary.ids("A")
    assert all(vocabulary.ends(token) for token in ends)
