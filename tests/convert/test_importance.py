"""`--imatrix`: the weights that the pinned llama-quantize makes of the same file, or an error."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from imp_deploy import bundle as bundles
from imp_deploy.convert.importance import read_importance
from imp_deploy.errors import BadInput
from imp_deploy.files import sha256_of
from tests.checkpoints import Sizes, make_checkpoint
from tests.convert.stock_quantizer import assert_same_tensors, metadata_of
from tests.imatrix import Array, random_sums, write_imatrix
from tests.small import contents, one_sentence, run_export

SIZES = Sizes(layers=9)
FFN = "blk.0.ffn_down.weight"
ONE = {FFN: np.ones(96, dtype=np.float32)}


@pytest.fixture(scope="module")
def imp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`Imp`, a checkpoint whose rows are whole blocks, and `bundle` with its F16 file."""
    folder = tmp_path_factory.mktemp("imp")
    make_checkpoint(folder / "Imp", family="phi2", naming="hub", sizes=SIZES)
    run_export(folder / "Imp", folder / "bundle", bits=(16,), resolutions=(196,))
    return folder


@pytest.fixture
def sums(made: Path, tmp_path: Path) -> dict[str, Array]:
    """For the small checkpoint."""
    run_export(made / "phi2", tmp_path / "f16", bits=(16,))
    return random_sums(tmp_path / "f16" / "Imp-F16.gguf")


def four_bits(checkpoint: Path, out: Path, imatrix: Path, **options: object) -> tuple[str, ...]:
    """The notes of the export."""
    return run_export(checkpoint, out, bits=(4,), imatrix=imatrix, **options).notes


@pytest.mark.parametrize("recipe", ["Q4_0", "Q4_K_M"])
def test_as_the_stock_program_reads_it(
    recipe: str, imp: Path, stock_quantize: Path, tmp_path: Path
) -> None:
    """Sums are divided by counts; what nothing was counted for weighs everything alike. And both
    programs say in the file what it was made with."""
    f16 = imp / "bundle" / "Imp-F16.gguf"
    measured = random_sums(f16)
    write_imatrix(
        tmp_path / "imatrix.gguf",
        measured,
        counts={"blk.1.attn_qkv.weight": 0.0, "blk.2.ffn_up.weight": 12.5, FFN: 3e6},
        datasets=("pictures", "more"),
    )
    four_bits(
        imp / "Imp",
        tmp_path / "ours",
        tmp_path / "imatrix.gguf",
        four_bit=recipe,
        resolutions=(196,),
    )
    arguments = ("--imatrix", "imatrix.gguf", str(f16), "stock.gguf", recipe, "2")
    subprocess.run(
        [str(stock_quantize), *arguments], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL
    )
    ours = tmp_path / "ours" / f"Imp-{recipe}.gguf"
    assert_same_tensors(ours, tmp_path / "stock.gguf")
    assert metadata_of(ours) == metadata_of(tmp_path / "stock.gguf")
    assert metadata_of(ours)["quantize.imatrix.file"] == "imatrix.gguf"


def test_no_place_of_this_machine(made: Path, sums: dict[str, Array], tmp_path: Path) -> None:
    """The file is published; the folders of whoever made it are nobody's business."""
    (tmp_path / "private").mkdir()
    imatrix = write_imatrix(
        tmp_path / "private" / "i.gguf", sums, datasets=("/home/private/text.raw",)
    )
    four_bits(made / "phi2", tmp_path / "out", imatrix)
    assert all(b"private" not in content for content in _ggufs(tmp_path / "out"))
    found = metadata_of(tmp_path / "out" / "Imp-Q4_0.gguf")
    assert found["quantize.imatrix.file"] == "i.gguf"
    assert found["quantize.imatrix.dataset"] == "text.raw"


def _ggufs(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob("*.gguf")]


def test_the_manifest_says_which(made: Path, sums: dict[str, Array], tmp_path: Path) -> None:
    """Two files of one name are told apart by it, and old bundles still read."""
    imatrix = write_imatrix(tmp_path / "i.gguf", sums)
    run_export(made / "phi2", tmp_path / "out", imatrix=imatrix)
    by_bits = {f.bits: f.imatrix_sha256 for f in bundles.load(tmp_path / "out").files}
    assert by_bits == {16: None, 8: None, 4: sha256_of(imatrix)}
    text = (tmp_path / "out" / "bundle.json").read_text("utf-8")
    assert text.count("imatrix_sha256") == 1
    assert "overrides" not in text


def test_the_same_again_and_another(made: Path, sums: dict[str, Array], tmp_path: Path) -> None:
    """A second run must not cost anything, and must not take other weights for the same ones."""
    out = tmp_path / "out"
    imatrix = write_imatrix(tmp_path / "i.gguf", sums)
    four_bits(made / "phi2", out, imatrix)
    before = contents(out)
    assert run_export(made / "phi2", out, bits=(4,), imatrix=imatrix).written == ()
    # Under another name it is the same one, although the header, and so the file, would be longer.
    renamed = tmp_path / f"{'the same ' * 12}.gguf"
    renamed.write_bytes(imatrix.read_bytes())
    assert run_export(made / "phi2", out, bits=(4,), imatrix=renamed).written == ()
    write_imatrix(imatrix, random_sums(tmp_path / "f16" / "Imp-F16.gguf", seed=1))
    for options in ({"imatrix": imatrix}, {}, {"imatrix": imatrix, "four_bit": "Q4_K_M"}):
        with pytest.raises(BadInput, match=r"has 4 bits as Q4_0 with an importance matrix") as no:
            run_export(made / "phi2", out, bits=(4,), **options)
        assert one_sentence(str(no.value))
    assert contents(out) == before
    (out / "Imp-Q4_0.gguf").unlink()  # the cure that the message names
    assert run_export(made / "phi2", out, imatrix=imatrix, bits=(4,)).written == ("Imp-Q4_0.gguf",)
    assert contents(out) != before


def test_unfinished_with_another_matrix(
    made: Path, sums: dict[str, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an interrupted run left is of other weights, though its header is the same."""
    imatrix = write_imatrix(tmp_path / "i.gguf", sums)
    run_export(made / "phi2", tmp_path / "whole", bits=(4,), imatrix=imatrix)
    other = random_sums(tmp_path / "f16" / "Imp-F16.gguf", seed=1)
    write_imatrix(imatrix, other)

    def cut(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr("imp_deploy.convert.export._verified", cut)
        with pytest.raises(RuntimeError):
            four_bits(made / "phi2", tmp_path / "out", imatrix)
    write_imatrix(imatrix, sums)
    four_bits(made / "phi2", tmp_path / "out", imatrix)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_matrix_without_entry(made: Path, sums: dict[str, Array], tmp_path: Path) -> None:
    """It is quantized without weights, and the user hears of it."""
    del sums[FFN]
    imatrix = write_imatrix(tmp_path / "i.gguf", sums)
    notes = four_bits(made / "phi2", tmp_path / "out", imatrix)
    assert [FFN in note and "no entry for 1 " in note for note in notes].count(True) == 1
    assert all("no entry" not in note for note in run_export(made / "phi2", tmp_path / "b").notes)


def _model(path: Path) -> Path:
    writer = GGUFWriter(path, "phi2")
    writer.add_tensor(FFN, np.ones((1, 96), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _legacy(path: Path) -> Path:
    name = FFN.encode()
    values = np.ones(96, dtype=np.float32).tobytes()
    entry = struct.pack("<i", len(name)) + name + struct.pack("<ii", 5, 96) + values
    path.write_bytes(struct.pack("<i", 1) + entry)
    return path


def _text(path: Path) -> Path:
    path.write_text("a picture is worth a thousand words")
    return path


def _cut(path: Path) -> Path:
    write_imatrix(path, ONE)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def _with(**values: object) -> Callable[[Path], Path]:
    return lambda path: write_imatrix(path, ONE, **values)  # type: ignore[arg-type]


def _sums(value: float, columns: int = 96, name: str = FFN) -> Callable[[Path], Path]:
    values = np.ones(columns, dtype=np.float32)
    values[3] = value
    return lambda path: write_imatrix(path, {name: values})


def _two_experts(path: Path) -> Path:
    writer = GGUFWriter(path, "imatrix")
    writer.add_array("imatrix.datasets", ["x"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 1)
    writer.add_tensor(FFN + ".in_sum2", np.ones((2, 48), dtype=np.float32))
    writer.add_tensor(FFN + ".counts", np.ones((2, 1), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda path: path.parent, "is no file"),
        (lambda path: path, "is no file"),
        (_text, "not a whole GGUF file"),
        (_cut, "not a whole GGUF file"),
        (_legacy, "older form; convert"),
        (_model, "is no importance matrix (it lacks imatrix.datasets)"),
        (_with(without=("imatrix.chunk_size",)), "it lacks imatrix.chunk_size"),
        (_with(without=(FFN + ".counts",)), "no sums or no counts"),
        (_with(without=(FFN + ".in_sum2",)), "no sums or no counts"),
        (_with(without=(FFN + ".in_sum2", FFN + ".counts")), "without entries"),
        (_with(counts={FFN: -1.0}), "negative"),
        (_with(counts={FFN: float("nan")}), "NaN"),
        (_sums(float("nan")), "NaN"),
        (_sums(float("inf")), "NaN or infinite"),
        (_sums(-1.0), "negative"),
        (_sums(1e38), "mean squares up to 1e+35"),
        (_sums(1.0, columns=64), "has 64 columns, and the tensor has 96"),
        (_sums(1.0, name="blk.7.ffn_down.weight"), "of another model"),
        (_sums(1.0, name="blk.0.ffn_down.bias"), "of no matrix"),
        (_two_experts, "experts"),
    ],
)
def test_what_cannot_be_used(
    write: Callable[[Path], Path], expected: str, made: Path, tmp_path: Path
) -> None:
    """Weights of another model, or of a run that went wrong, would make the answers worse, and
    nobody would know why."""
    path = write(tmp_path / "file.gguf")
    with pytest.raises(BadInput) as caught:
        four_bits(made / "phi2", tmp_path / "out", path)
    message = str(caught.value)
    assert expected in message
    assert str(path) in message
    assert one_sentence(message), message
    assert not list((tmp_path / "out").iterdir())


def test_the_largest_weights_give_numbers(imp: Path, tmp_path: Path) -> None:
    """What is not refused must not make NaN of a model."""
    sums = random_sums(imp / "bundle" / "Imp-F16.gguf")
    for name, values in sums.items():
        sums[name] = np.where(values > 0, np.float32(9e26), values).astype(np.float32)
    imatrix = write_imatrix(tmp_path / "i.gguf", sums)
    assert read_importance(imatrix).weights[FFN].max() > 8e23
    for recipe in ("Q4_0", "Q4_K_M"):
        options = {"four_bit": recipe, "resolutions": (196,)}
        four_bits(imp / "Imp", tmp_path / recipe, imatrix, **options)
        assert _all_finite(tmp_path / recipe / f"Imp-{recipe}.gguf")


def _all_finite(path: Path) -> bool:
    from gguf import GGUFReader
    from gguf.quants import dequantize

    tensors = GGUFReader(path).tensors
    return all(np.isfinite(dequantize(t.data, t.tensor_type)).all() for t in tensors)
