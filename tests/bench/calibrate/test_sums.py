"""The importance matrix against PyTorch, and against llama.cpp's own programs."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader

from imp_deploy import bundle as bundles
from imp_deploy.bench.calibrate import sums
from imp_deploy.convert.hub import locate
from imp_deploy.convert.reference import Reference, load_reference
from imp_deploy.convert.verify import _prompt_ids
from imp_deploy.image import load_rgb
from tests.bench.calibrate.conftest import Small, collect
from tests.checkpoints import Sizes, make_checkpoint
from tests.pictures import noise
from tests.small import run_export

# What transformers calls the inputs of the matrices of a GGUF.
MATRICES = {
    "self_attn.q_proj": ("attn_q", "attn_qkv"),
    "self_attn.k_proj": ("attn_k",),
    "self_attn.v_proj": ("attn_v",),
    "self_attn.qkv_proj": ("attn_qkv",),
    "self_attn.dense": ("attn_output",),
    "self_attn.o_proj": ("attn_output",),
    "mlp.fc1": ("ffn_up",),
    "mlp.fc2": ("ffn_down",),
    "mlp.gate_up_proj": ("ffn_up",),
    "mlp.gate_proj": ("ffn_gate",),
    "mlp.up_proj": ("ffn_up",),
    "mlp.down_proj": ("ffn_down",),
}
TOKENS = 5


def inputs_of(model: Reference) -> tuple[dict[str, Any], dict[str, int]]:
    """Filled while `model` is asked: by a matrix's name in a GGUF, the sums of the squares of what
    it is multiplied by, and of how many rows. Of the last block's FFN only the rows whose logits
    choose a token: the others are computed for nothing, and llama.cpp leaves them out."""
    squares: dict[str, Any] = defaultdict(float)
    rows: dict[str, int] = defaultdict(int)
    layers = model.llm.model.layers

    def watch(names: list[str], *, last: bool) -> Any:
        def hook(_module: Any, arguments: Any) -> None:
            values = arguments[0][0].double()
            values = values[-1:] if last else values
            for name in names:
                squares[name] = squares[name] + (values**2).sum(0).numpy()
                rows[name] += len(values)

        return hook

    for number, layer in enumerate(layers):
        for part, targets in MATRICES.items():
            for name, module in layer.named_modules():
                if name == part:
                    named = [f"blk.{number}.{target}.weight" for target in targets]
                    last = number == len(layers) - 1 and part.startswith("mlp.")
                    module.register_forward_pre_hook(watch(named, last=last))
    return squares, rows


@pytest.mark.parametrize(
    ("family", "naming", "sizes"),
    [
        ("phi2", "hub", Sizes()),
        ("phi2", "train", Sizes()),
        ("qwen2", "train", Sizes(kv_heads=2)),
        ("phi3", "train", Sizes(kv_heads=2)),
        ("llava", "train", Sizes(kv_heads=2)),
    ],
)
def test_the_sums_are_those_of_pytorch(
    family: str, naming: str, sizes: Sizes, tmp_path: Path
) -> None:
    """Otherwise the quantizer is told that other columns matter than those that do."""
    side = 56
    checkpoint = make_checkpoint(
        tmp_path / "checkpoint",
        family=family,
        naming=naming,
        sizes=sizes,
        image_size=side,  # type: ignore[arg-type]
    )
    run_export(checkpoint, tmp_path / "bundle", bits=(16,), resolutions=(side,))
    images = tmp_path / "images"
    images.mkdir()
    noise(side * 2, side, seed=3).save(images / "a.png")
    (tmp_path / "prompts").write_text("What is in the picture?\n")
    done = collect(
        tmp_path / "bundle", images, tmp_path / "out", prompts=tmp_path / "prompts", tokens=TOKENS
    )

    located = locate(str(checkpoint), None)
    model = load_reference(located.folder)
    bundle = bundles.load(tmp_path / "bundle")
    texts = _prompt_ids(bundle, located, "What is in the picture?")
    squares, rows = inputs_of(model)
    visual = model.embed(load_rgb(images / "a.png"))
    model.greedy(texts.before, visual, texts.after, TOKENS)

    found = {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / "out").tensors}
    names = {re.sub(r"\.(in_sum2|counts)$", "", name) for name in found}
    assert names <= set(squares)
    assert len(names) == 2 * len({name.split(".")[2] for name in names})
    for name in names:
        assert float(found[f"{name}.counts"][0]) == rows[name], name
        # In F16 on one side: a single column of few rows may be off by a tenth.
        off = np.linalg.norm(found[f"{name}.in_sum2"] - squares[name])
        assert off < 0.01 * np.linalg.norm(squares[name]), name
    assert done.about.rows == len(texts.before) + len(visual) + len(texts.after) + TOKENS - 1
    assert done.visual == len(visual)


def test_llama_quantize_takes_the_file(small: Small, stock_quantize: Path, tmp_path: Path) -> None:
    """What the file is for, if not for our own export."""
    out = tmp_path / "out.gguf"
    done = collect(small.bundle, small.images, out)
    bundle = bundles.load(small.bundle)
    llm = small.bundle / bundles.choose(bundle, bits=16).llm.path
    said = quantized(stock_quantize, llm, tmp_path / "with", "--imatrix", str(out))
    quantized(stock_quantize, llm, tmp_path / "without")
    assert f"have {done.about.matrices} importance matrix entries" in said
    assert set(re.findall("did not find weights for (.*)", said)) == {
        "output.weight",
        "token_embd.weight",
    }
    reader = GGUFReader(tmp_path / "with")
    assert reader.fields["quantize.imatrix.chunks_count"].contents() == done.about.questions
    assert reader.fields["quantize.imatrix.dataset"].contents() == small.images.name
    plain = {t.name: t.data.tobytes() for t in GGUFReader(tmp_path / "without").tensors}
    changed = {t.name for t in reader.tensors if t.data.tobytes() != plain[t.name]}
    four_bits = {t.name for t in reader.tensors if t.tensor_type == GGMLQuantizationType.Q4_0}
    assert changed == four_bits - {"token_embd.weight"}


def quantized(program: Path, source: Path, out: Path, *options: str) -> str:
    argv = [str(program), *options, str(source), str(out), "Q4_0", "1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_llama_imatrix_writes_the_same_file(
    small: Small, stock_imatrix: Path, tmp_path: Path
) -> None:
    """It reads ours, and writes what it read: the same keys, tensors, types, shapes and order. Only
    its chunks are of the length that it is asked for, 512 tokens if nothing is said."""
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    collect(small.bundle, small.images, ours)
    argv = [str(stock_imatrix), "-m", "none", "--in-file", str(ours), "-o", str(theirs)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = GGUFReader(ours), GGUFReader(theirs)
    (keys, types), (others, other_types) = map(described, (first, second))
    assert keys.pop("imp.calibration")
    assert types.pop("imp.calibration")
    assert list(types.items()) == list(other_types.items())
    tokens = float(next(t.data[0] for t in first.tensors if t.name.endswith(".counts")))
    assert (keys.pop("imatrix.chunk_count"), others.pop("imatrix.chunk_count")) == (8, 1)
    assert (keys.pop("imatrix.chunk_size"), others.pop("imatrix.chunk_size")) == (tokens // 8, 512)
    assert keys == others
    assert [(t.name, t.tensor_type, t.shape.tolist(), t.data.tobytes()) for t in first.tensors] == [
        (t.name, t.tensor_type, t.shape.tolist(), t.data.tobytes()) for t in second.tensors
    ]


def described(reader: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values and the types of all keys, in their order."""
    fields = {name: field for name, field in reader.fields.items() if name[:5] != "GGUF."}
    values = {name: field.contents() for name, field in fields.items()}
    return values, {name: field.types for name, field in fields.items()}


@pytest.mark.parametrize("content", [b"", b"imp-sums 2\n", b"imp-sums 1\nblk 3 1\n12345678", b"x"])
def test_sums_of_another_runner_are_refused(content: bytes) -> None:
    with pytest.raises(Exception, match="imp-deploy build"):
        sums.parse(content)
