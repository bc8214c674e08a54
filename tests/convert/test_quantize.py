"""Quantized files are, tensor by tensor, what the pinned llama-quantize makes of the F16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import LlamaFileType

from imp_deploy.ask import ask
from imp_deploy.bundle import choose
from imp_deploy.convert.export import export
from imp_deploy.convert.inspect import read_gguf
from imp_deploy.convert.overrides import parse
from imp_deploy.convert.plan import Options
from tests.checkpoints import Sizes, make_checkpoint
from tests.convert.stock_quantizer import assert_same_tensors, metadata_of, stock_quantize
from tests.imatrix import COUNT, random_sums, write_imatrix
from tests.quiet import Quiet
from tests.small import edit_json, run_export

SIZES = {
    "whole blocks": Sizes(),
    # Rows of 160 are whole blocks of 32 but not of 256: the head falls back from Q6_K.
    "no blocks of 256": Sizes(hidden=160, heads=4, rotary=24, inner=320),
    # Rows of 72 are not even blocks of 32: F16.
    "no blocks at all": Sizes(hidden=72, heads=2, rotary=24, inner=96),
}
# More than 8 layers: the mixtures treat the first and the last eighth in their own way.
DEEP = Sizes(layers=9, kv_heads=2)
LAYOUTS = {
    "phi2, fused": ("phi2", "hub"),
    "phi2, split": ("phi2", "train"),
    "qwen2": ("qwen2", "train"),
    "qwen2, tied": ("qwen2", "train"),
    "phi3": ("phi3", "train"),
    "llava": ("llava", "train"),
}
FILE_TYPES = {"Q4_0": LlamaFileType.MOSTLY_Q4_0, "Q4_K_M": LlamaFileType.MOSTLY_Q4_K_M}


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("family", ["phi2", "qwen2", "phi3", "llava"])
def test_bytes_equal_llama_quantize(family: str, sizes: str, dtype: str, tmp_path: Path) -> None:
    """Otherwise our 4 bits are another 4 bits than everybody's, and no figure can be compared."""
    checkpoint = make_checkpoint(
        tmp_path / "Imp",
        family=family,  # type: ignore[arg-type]
        naming="train",
        dtype=dtype,  # type: ignore[arg-type]
        sizes=SIZES[sizes],
    )
    out = tmp_path / "bundle"
    export(checkpoint, out, Options(resolutions=(196,)), progress=Quiet())
    for name, kind in (
        ("Q8_0", LlamaFileType.MOSTLY_Q8_0),
        ("Q4_0", LlamaFileType.MOSTLY_Q4_0),
    ):
        stock_quantize(out / "Imp-F16.gguf", tmp_path / "stock.gguf", kind)
        assert_same_tensors(out / f"Imp-{name}.gguf", tmp_path / "stock.gguf")


@pytest.fixture(scope="module", params=LAYOUTS)
def deep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint `Imp` with many layers, the `F16` file of it, and `imatrix.gguf` for it."""
    family, naming = LAYOUTS[request.param]
    folder = tmp_path_factory.mktemp("deep")
    sizes = DEEP if family != "phi2" else Sizes(layers=DEEP.layers)
    checkpoint = make_checkpoint(folder / "Imp", family=family, naming=naming, sizes=sizes)  # type: ignore[arg-type]
    if request.param.endswith("tied"):
        edit_json(checkpoint / "config.json", lambda c: c.update(tie_word_embeddings=True))
    run_export(checkpoint, folder / "F16", bits=(16,), resolutions=(196,))
    # The head as well: Q6_K takes weights too, where there are any.
    sums = random_sums(folder / "F16" / "Imp-F16.gguf", head=True)
    write_imatrix(folder / "imatrix.gguf", sums)
    return folder


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "imatrix"])
@pytest.mark.parametrize("recipe", FILE_TYPES)
def test_mixtures_equal_llama_quantize(
    deep: Path, recipe: str, weighted: bool, tmp_path: Path
) -> None:
    """A file that calls itself Q4_K_M must be the one that llama.cpp's figures are of; and weights
    that are applied to the wrong columns make a model worse without any error."""
    f16 = deep / "F16" / "Imp-F16.gguf"
    imatrix = deep / "imatrix.gguf" if weighted else None
    run_export(
        deep / "Imp", tmp_path, bits=(4,), resolutions=(196,), four_bit=recipe, imatrix=imatrix
    )
    sums = random_sums(f16, head=True)
    weights = {n: s / np.float32(COUNT) for n, s in sums.items()} if weighted else None
    stock_quantize(f16, tmp_path / "stock.gguf", FILE_TYPES[recipe], weights=weights)
    types = assert_same_tensors(tmp_path / f"Imp-{recipe}.gguf", tmp_path / "stock.gguf")
    found = {kind for name, kind in types.items() if name.endswith("ffn_down.weight")}
    assert (
        found
        == {
            ("Q4_0", False): {"Q4_0"},
            ("Q4_0", True): {"Q4_0", "Q4_1"},
            ("Q4_K_M", False): {"Q4_K", "Q6_K"},
            ("Q4_K_M", True): {"Q4_K", "Q6_K"},
        }[recipe, weighted]
    )


@pytest.mark.parametrize("sizes", ["no blocks of 256", "no blocks at all"])
@pytest.mark.parametrize("family", ["phi2", "llava"])
def test_rows_that_k_types_do_not_fit(family: str, sizes: str, tmp_path: Path) -> None:
    """Phi-2's rows are whole blocks; others' may not be, and must then be stored as llama.cpp
    would. The user must hear of it."""
    checkpoint = make_checkpoint(
        tmp_path / "Imp",
        family=family,  # type: ignore[arg-type]
        naming="train",
        sizes=SIZES[sizes],
    )
    options = {"resolutions": (196,), "four_bit": "Q4_K_M"}
    made = run_export(checkpoint, tmp_path / "bundle", bits=(16, 4), **options)
    stock_quantize(
        tmp_path / "bundle" / "Imp-F16.gguf", tmp_path / "stock.gguf", LlamaFileType.MOSTLY_Q4_K_M
    )
    assert_same_tensors(tmp_path / "bundle" / "Imp-Q4_K_M.gguf", tmp_path / "stock.gguf")
    about = " ".join(note for note in made.notes if "Imp-Q4_K_M.gguf" in note)
    assert ("Q5_0, Q8_0" if sizes == "no blocks of 256" else "at F16") in about


def test_no_importance_in_other_files(deep: Path, tmp_path: Path) -> None:
    """F16 and Q8_0 have nothing to weigh; bundles with and without must share these files."""
    options = {"bits": (16, 8, 4), "resolutions": (196,)}
    run_export(deep / "Imp", tmp_path / "plain", **options)
    run_export(deep / "Imp", tmp_path / "weighted", imatrix=deep / "imatrix.gguf", **options)
    for name in ("Imp-F16.gguf", "Imp-Q8_0.gguf"):
        plain, weighted = (tmp_path / kind / name for kind in ("plain", "weighted"))
        assert plain.read_bytes() == weighted.read_bytes()


@pytest.mark.parametrize("recipe", FILE_TYPES)
def test_overrides_equal_llama_quantize(deep: Path, recipe: str, tmp_path: Path) -> None:
    """The recipes count the tensors that nobody has chosen a type for: one choice shifts others."""
    f16 = deep / "F16" / "Imp-F16.gguf"
    overrides = tuple(
        map(
            parse,
            (
                r"blk\.[02]\.attn_(V|qkv)=q8_0",
                r"blk\.(3|8)\.ffn_down=F16",
                r"ffn_down.weight=Q5_K",
                r"^output\.weight|token_embd=Q4_K",
                r"attn_output=q5_0",
                r"blk\.5\.=Q4_1",
            ),
        )
    )
    options = {"four_bit": recipe, "imatrix": deep / "imatrix.gguf", "overrides": overrides}
    run_export(deep / "Imp", tmp_path, bits=(4,), resolutions=(196,), **options)
    weights = {n: s / np.float32(COUNT) for n, s in random_sums(f16, head=True).items()}
    stock_quantize(
        f16,
        tmp_path / "stock.gguf",
        FILE_TYPES[recipe],
        weights=weights,
        overrides=overrides,
    )
    types = assert_same_tensors(tmp_path / f"Imp-{recipe}.gguf", tmp_path / "stock.gguf")
    assert types["blk.3.ffn_down.weight"] == "F16"
    assert types["blk.4.ffn_down.weight"] == "Q5_K"


@pytest.mark.parametrize("recipe", FILE_TYPES)
def test_metadata_equals_llama_quantize(recipe: str, tmp_path: Path) -> None:
    """Tools that read `general.file_type` must see what they would see in a stock file."""
    checkpoint = make_checkpoint(tmp_path / "Imp", family="phi2", naming="hub")
    out = tmp_path / "bundle"
    run_export(checkpoint, out, resolutions=(196,), four_bit=recipe)
    stock_quantize(out / "Imp-F16.gguf", tmp_path / "stock.gguf", FILE_TYPES[recipe])
    assert metadata_of(out / f"Imp-{recipe}.gguf") == metadata_of(tmp_path / "stock.gguf")


def test_a_mixture_answers(demo_checkpoint: Path, tmp_path: Path) -> None:
    """The trained model's rows are whole blocks of 256: the whole way from `export` to an answer.
    (Its question and its answer stand in the README.)"""
    options = {"bits": (4,), "resolutions": (196,), "four_bit": "Q4_K_M"}
    made = run_export(demo_checkpoint, tmp_path, **options)
    types = {t.type for t in read_gguf(tmp_path / "Imp-Q4_K_M.gguf").tensors}
    assert types == {"F32", "Q4_K", "Q6_K"}
    answer = ask(
        tmp_path,
        made.bundle,
        choose(made.bundle),
        image=demo_checkpoint / "images" / "scene-1.png",
        question="What colour is the circle?",
        max_tokens=8,
        threads=2,
    )
    assert answer.text.strip() == "purple"
