"""Zeros that widen a tower's FFN to whole blocks: nothing stays at 16 bits, nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, quants

from imp_deploy import prompt, runner
from imp_deploy.bundle import choose, load
from imp_deploy.convert import ggml, piece
from imp_deploy.convert.hub import Located
from imp_deploy.convert.towers.base import Tower
from imp_deploy.convert.verify import Bounds, cosines, failures, verify
from imp_deploy.image import write_ppm
from tests.checkpoints import Sizes, make_checkpoint
from tests.pictures import noise
from tests.small import run_export, small_checkpoint

Array = np.ndarray[Any, np.dtype[Any]]

ODD = Sizes()  # an FFN 100 wide, which becomes 128, in a tower 64 wide
NARROW = Sizes(vision_inner=60)  # would become 64, as wide as the tower itself
SQUARE = Sizes(vision_inner=64)  # is so from the start


def tensors(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in GGUFReader(path).tensors}


def width(path: Path) -> int:
    field = GGUFReader(path).get_field("clip.vision.feed_forward_length")
    assert field is not None
    return int(field.contents())


def padded(values: Array, shape: tuple[int, ...]) -> Array:
    return np.pad(values, [(0, new - old) for old, new in zip(values.shape, shape, strict=True)])


def embeddings(bundle: Path, binary: Path, folder: Path) -> Array:
    """Of one picture by the bundle's first tower: [visual tokens, hidden]."""
    loaded = load(bundle)
    variant = choose(loaded, bits=16)
    assert variant.vision.resolution is not None
    folder.mkdir()
    write_ppm(noise(300, 200), folder / "picture.ppm")
    step = runner.Step(
        id="0",
        prompt=prompt.fill(loaded.prompt, "What is in the picture?"),
        max_tokens=1,
        image=folder / "picture.ppm",
        side=variant.vision.resolution,
        mode=loaded.preprocess.mode,
        embeddings=folder / "embeddings",
    )
    job = runner.Job(
        model=bundle / variant.llm.path,
        mmproj=bundle / variant.vision.path,
        stop=loaded.prompt.stop,
        steps=(step,),
    )
    runner.run_job(binary, job, folder)
    values = np.fromfile(folder / "embeddings", dtype="<f4")
    return values.reshape(variant.vision.visual_tokens, -1)


@pytest.mark.parametrize("family", ["phi2", "llava"])
@pytest.mark.parametrize(("bits", "kind"), [(8, "Q8_0"), (4, "Q4_0")])
def test_every_matrix_is_quantized_with_zeros_behind_it(
    family: str, bits: int, kind: str, tmp_path: Path
) -> None:
    """Byte for byte what ggml makes of the widened matrices; what is added is 0 and not nearly."""
    checkpoint = small_checkpoint(tmp_path / "checkpoint", family=family, naming="train")
    for wanted in (16, bits):
        exported = run_export(checkpoint, tmp_path / "out", bits=(16,), vision_bits=wanted)
    assert not any("F16" in note for note in exported.notes), exported.notes
    (exact,) = (tmp_path / "out").glob("mmproj-*-F16.gguf")
    (small,) = (tmp_path / "out").glob(f"mmproj-*-{kind}.gguf")
    assert (width(exact), width(small)) == (40, 64)
    plain, wide = tensors(exact), tensors(small)
    blocks = [name for name in wide if name.startswith("v.blk.") and name.endswith("weight")]
    matrices = [name for name in blocks if ".ln" not in name]
    assert {wide[name].tensor_type.name for name in matrices} == {kind}
    longer = 0
    for name in wide:
        shape = tuple(int(n) for n in reversed(wide[name].shape))
        longer += plain[name].data.shape != shape
        values = padded(plain[name].data, shape).astype(np.float32)
        if wide[name].tensor_type.name != kind:
            assert np.array_equal(wide[name].data, values), name
            continue
        expected = ggml.quantize(wide[name].tensor_type, values.reshape(-1).copy(), shape[-1])
        assert np.array_equal(wide[name].data.reshape(-1), expected), name
        found = quants.dequantize(wide[name].data, wide[name].tensor_type)
        rows, columns = plain[name].data.shape
        # Half a step of the largest value of a block, in which the negative one may be alone.
        assert np.abs(found - values).max() <= np.abs(values).max() / (2 ** (bits - 1) - 1), name
        assert not found[rows:].any(), name
        assert not found[:, columns:].any(), name
    assert longer == 3  # both matrices and a bias, of one layer


@pytest.mark.parametrize("family", ["phi2", "llava"])
def test_zeros_leave_the_embeddings_as_they_are(
    family: str, runner_binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both activations must be 0 at 0, and the runner must not take fc2 for fc1. At 16 bits, where
    nothing else differs."""
    checkpoint = make_checkpoint(
        tmp_path / "checkpoint",
        family=family,  # type: ignore[arg-type]
        naming="train",
        sizes=ODD,
    )
    found = []
    for name, block in (("plain", 1), ("wide", 32)):
        real = Tower.stored_inner
        with monkeypatch.context() as patch:
            patch.setattr(Tower, "stored_inner", lambda self, _, b=block, f=real: f(self, b))
            out = tmp_path / name
            run_export(checkpoint, out, bits=(16,), resolutions=None)
        assert width(next(out.glob("mmproj-*"))) == {"plain": 100, "wide": 128}[name]
        found.append(embeddings(out, runner_binary, tmp_path / f"{name}-run"))
    assert np.isfinite(found[0]).all()
    # The kernels add up in another order where rows are longer.
    assert cosines(found[0], found[1]).min() > 1 - 1e-6
    assert np.abs(found[0] - found[1]).max() < 2e-3 * np.abs(found[0]).max()


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("sizes", [NARROW, SQUARE], ids=["becomes square", "is square"])
def test_a_width_that_libmtmd_would_misread(sizes: Sizes, bits: int, tmp_path: Path) -> None:
    """Where an FFN is as wide as its tower, libmtmd swaps fc1 and fc2 and says so on a line that
    nobody reads; the embeddings are those of another model."""
    checkpoint = make_checkpoint(
        tmp_path / "checkpoint", family="phi2", naming="hub", sizes=sizes, image_size=196
    )
    exported = run_export(checkpoint, tmp_path / "out", bits=(16,), vision_bits=bits)
    picture = tmp_path / "picture.png"
    noise(300, 200).save(picture)
    rows = verify(
        tmp_path / "out",
        exported.bundle,
        Located(checkpoint, None, str(checkpoint)),
        [picture],
        question="What is in the picture?",
        max_tokens=2,
    )
    bound = {16: 0.99999, 8: 0.99}[bits]
    assert failures(rows, Bounds(min_cosine=bound)) == []


def test_rows_behind_the_last_come_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full-size fc1 is read in pieces, and only the last one is followed by zeros."""
    checkpoint = small_checkpoint(tmp_path / "checkpoint")
    written = []
    for elements in (piece.PIECE_ELEMENTS, 160):
        monkeypatch.setattr(piece, "PIECE_ELEMENTS", elements)
        out = tmp_path / str(elements)
        for bits in (8, 4):
            run_export(checkpoint, out, bits=(16,), vision_bits=bits)
        written.append({path.name: path.read_bytes() for path in out.glob("mmproj-*")})
    assert len(written[0]) == 2
    assert written[0] == written[1]


def test_a_tower_that_cannot_be_quantized_is_named(tmp_path: Path) -> None:
    """Zeros widen the FFN only: attention in rows of 48 stays at 16 bits, and the user is told why
    the file is larger than expected."""
    sizes = Sizes(vision_hidden=48, vision_heads=4)
    checkpoint = make_checkpoint(
        tmp_path / "checkpoint", family="phi2", naming="hub", sizes=sizes, image_size=56
    )
    exported = run_export(checkpoint, tmp_path / "out", bits=(8,))
    notes = [note for note in exported.notes if "at F16" in note]
    assert len(notes) == 1
    assert "keeps 11 matrices at F16" in notes[0]
    assert "not whole blocks of Q8_0" in notes[0]
    (path,) = (tmp_path / "out").glob("mmproj-*")
    assert tensors(path)["v.blk.0.ffn_down.weight"].tensor_type.name == "Q8_0"
