"""What `export` does with an output folder: skip, extend, repair, refuse, overwrite."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from imp_deploy import bundle as bundles
from imp_deploy.convert import identity
from imp_deploy.convert.towers.base import Tower
from imp_deploy.errors import BadInput
from imp_deploy.files import sha256_of
from tests.small import (
    contents,
    copied,
    edit_json,
    edit_weights,
    finished_files,
    one_sentence,
    run_export,
)

WEIGHTS = "model.safetensors"
LLM = ["Imp-F16.gguf", "Imp-Q4_0.gguf", "Imp-Q8_0.gguf"]
VISION = ["mmproj-Imp-56-F16.gguf", "mmproj-Imp-56-Q8_0.gguf"]
ALL = [*LLM, "bundle.json", *VISION]


def modified(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def change_one_weight(checkpoint: Path) -> None:
    def change(tensors: dict) -> None:  # type: ignore[type-arg]
        tensors["transformer.h.0.mlp.fc1.weight"][0, 0] += 1

    size = (checkpoint / WEIGHTS).stat().st_size
    edit_weights(checkpoint / WEIGHTS, change)
    assert (checkpoint / WEIGHTS).stat().st_size == size


def test_the_same_input_twice(checkpoint: Path, out: Path) -> None:
    """Whoever runs a script again must not wait again."""
    first = run_export(checkpoint, out)
    before = modified(out)
    again = run_export(checkpoint, out)
    assert (sorted(first.written), first.kept) == (sorted(LLM + VISION), ())
    assert (again.written, sorted(again.kept)) == ((), sorted(LLM + VISION))
    assert again.bundle == first.bundle == bundles.load(out)
    assert modified(out) == before
    assert sorted(p.name for p in out.iterdir()) == sorted(ALL)


def test_two_exports_are_equal(made: Path, tmp_path: Path) -> None:
    """Nothing in a file may depend on the time, the place or the order of the threads."""
    run_export(made / "phi2", tmp_path / "one")
    run_export(made / "phi2", tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_more_bits_are_added(checkpoint: Path, out: Path, tmp_path: Path) -> None:
    """A second width must not cost the first one again, and must be the same file as ever."""
    run_export(checkpoint, out, bits=(4,))
    before = modified(out)
    extended = run_export(checkpoint, out, bits=(16, 8))
    assert sorted(extended.written) == ["Imp-F16.gguf", "Imp-Q8_0.gguf", VISION[0]]
    assert list(extended.kept) == VISION[1:]
    assert modified(out)["Imp-Q4_0.gguf"] == before["Imp-Q4_0.gguf"]
    run_export(checkpoint, tmp_path / "at once")
    assert contents(out) == contents(tmp_path / "at once")


def test_a_missing_file_is_made_again(checkpoint: Path, out: Path) -> None:
    """Deleting a file and exporting again is what everybody tries first."""
    run_export(checkpoint, out)
    expected = contents(out)
    (out / LLM[2]).unlink()
    assert run_export(checkpoint, out).written == (LLM[2],)
    assert contents(out) == expected


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty"])
def test_a_damaged_file_is_made_again(damage: str, checkpoint: Path, out: Path) -> None:
    """A flipped bit keeps the size; the phone would answer nonsense."""
    run_export(checkpoint, out)
    expected = contents(out)
    path = out / LLM[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[: {"truncated": -1, "one bit": None, "empty": 0}[damage]])
    assert run_export(checkpoint, out).written == (LLM[0],)
    assert contents(out) == expected


def test_a_lost_file_that_nobody_asked_for(checkpoint: Path, out: Path) -> None:
    """The manifest must not go on to list it: no command could use the bundle."""
    run_export(checkpoint, out)
    (out / "Imp-Q8_0.gguf").unlink()
    assert run_export(checkpoint, out, bits=(4,)).written == ()
    assert "Imp-Q8_0.gguf" not in {file.path for file in bundles.load(out).files}


def test_touched_files_are_the_same(checkpoint: Path, out: Path) -> None:
    """A copied checkpoint has other times and the same weights."""
    run_export(checkpoint, out)
    expected = {k: v for k, v in contents(out).items() if k != "bundle.json"}
    touch(checkpoint / WEIGHTS)
    again = run_export(checkpoint, out)
    assert again.written == ()
    assert {k: v for k, v in contents(out).items() if k != "bundle.json"} == expected


def test_one_weight_of_many_is_another_checkpoint(checkpoint: Path, out: Path) -> None:
    """A fine-tuned model has the same names, shapes and sizes."""
    run_export(checkpoint, out)
    change_one_weight(checkpoint)
    before = contents(out)
    with pytest.raises(BadInput, match=r"another checkpoint .* --force") as caught:
        run_export(checkpoint, out)
    assert str(out) in str(caught.value)
    assert contents(out) == before


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_other_settings_are_another_checkpoint(file: str, checkpoint: Path, out: Path) -> None:
    """The tokenizer and the sizes are in the files too."""
    run_export(checkpoint, out)
    edit_json(checkpoint / file, lambda settings: settings.update(something="new"))
    with pytest.raises(BadInput, match="another checkpoint"):
        run_export(checkpoint, out)


def test_force_overwrites_another_checkpoint(
    made: Path, checkpoint: Path, out: Path, tmp_path: Path
) -> None:
    """Nothing of the old bundle may stay: neither its files nor its manifest."""
    run_export(made / "qwen2", out, name="Old")
    run_export(checkpoint, out, force=True)
    run_export(checkpoint, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_force_writes_the_same_again(checkpoint: Path, out: Path) -> None:
    """`--force` is what the messages name as the cure."""
    run_export(checkpoint, out)
    expected = contents(out)
    assert run_export(checkpoint, out, force=True).kept == ()
    assert contents(out) == expected


@pytest.mark.parametrize("manifest", ["{", "[]", '{"schema": 99}', '{"schema": 1}'])
def test_a_broken_manifest(manifest: str, checkpoint: Path, out: Path) -> None:
    """The cure that the message names must work."""
    run_export(checkpoint, out)
    expected = contents(out)
    (out / "bundle.json").write_text(manifest)
    with pytest.raises(BadInput, match="--force") as caught:
        run_export(checkpoint, out)
    assert str(out / "bundle.json") in str(caught.value)
    run_export(checkpoint, out, force=True)
    assert contents(out) == expected


def test_a_file_of_the_user_is_in_the_way(checkpoint: Path, out: Path) -> None:
    """A GGUF that someone else made must not be overwritten unasked."""
    out.mkdir()
    (out / LLM[0]).write_text("mine")
    (out / "notes.txt").write_text("keep")
    with pytest.raises(BadInput, match=LLM[0]):
        run_export(checkpoint, out)
    assert (out / LLM[0]).read_text() == "mine"
    run_export(checkpoint, out, force=True)
    assert (out / "notes.txt").read_text() == "keep"


def test_a_later_format_is_another_export(
    checkpoint: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an update that changes the files, old ones must not be taken for new ones."""
    run_export(checkpoint, out)
    monkeypatch.setattr(identity, "FORMAT", identity.FORMAT + 1)
    with pytest.raises(BadInput, match="--force"):
        run_export(checkpoint, out)


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 300, "loop"])
def test_places_that_cannot_be_a_folder(place: str, checkpoint: Path, tmp_path: Path) -> None:
    """A mistyped OUT must not end in a traceback."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(BadInput) as caught:
        run_export(checkpoint, tmp_path / place)
    assert one_sentence(str(caught.value))
    assert place in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_checkpoints_own_folder(checkpoint: Path) -> None:
    """Small disks: the bundle may lie beside the weights, and the next export still knows them."""
    before = set(finished_files(checkpoint))
    run_export(checkpoint, checkpoint)
    assert set(finished_files(checkpoint)) - before == set(ALL)
    assert run_export(checkpoint, checkpoint).written == ()


def test_layouts_give_the_same_bundle(made: Path, tmp_path: Path) -> None:
    """F32, BF16, shards and `.bin` of one model are one model: half of the hub was saved again."""
    hashes = {}
    for kind in ("phi2", "shards", "bin", "bf16", "f32"):
        checkpoint = copied(made / kind, tmp_path / kind / "checkpoint")
        (checkpoint / "config.json").write_bytes((made / "phi2" / "config.json").read_bytes())
        files = run_export(checkpoint, tmp_path / kind / "out").bundle.files
        hashes[kind] = [file.sha256 for file in files]
    assert set(map(tuple, hashes.values())) == {tuple(hashes["phi2"])}, hashes


def test_manifest_is_read_as_it_was_written(checkpoint: Path, out: Path) -> None:
    """Sizes and hashes are what other programs check a copy with."""
    exported = run_export(checkpoint, out)
    manifest = json.loads((out / "bundle.json").read_text("utf-8"))
    assert bundles.parse(manifest, "bundle.json") == exported.bundle == bundles.load(out)
    for file in manifest["files"]:
        assert (out / file["path"]).stat().st_size == file["bytes"]
        assert sha256_of(out / file["path"]) == file["sha256"]


@pytest.mark.parametrize(
    ("options", "llm", "towers"),
    [
        ({}, LLM, VISION),
        ({"bits": (16,)}, LLM[:1], VISION[:1]),
        ({"bits": (4,)}, LLM[1:2], VISION[1:]),
        ({"bits": (8, 4)}, LLM[1:], VISION[1:]),
        ({"vision_bits": 16}, LLM, VISION[:1]),
        ({"bits": (16,), "vision_bits": 8}, LLM[:1], VISION[1:]),
        ({"bits": (4,), "vision_bits": 4}, LLM[1:2], ["mmproj-Imp-56-Q4_0.gguf"]),
    ],
)
def test_which_towers_are_written(
    options: dict[str, Any], llm: list[str], towers: list[str], checkpoint: Path, out: Path
) -> None:
    """Who asks for 4 bits wants a small bundle, and every variant finds its tower in it."""
    run_export(checkpoint, out, **options)
    assert finished_files(out) == sorted([*llm, *towers, "bundle.json"])


def old_bundle(checkpoint: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the versions before wrote it: matrices of an odd width stay at F16."""
    with monkeypatch.context() as patch:
        patch.setattr(Tower, "stored_inner", lambda self, _: self.inner)
        for bits in (16, 8):
            run_export(checkpoint, out, bits=(4,), vision_bits=bits)


def test_an_old_bundle_is_extended(
    checkpoint: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its language models are gigabytes, and as good as ever."""
    old_bundle(checkpoint, out, monkeypatch)
    before = modified(out)
    (out / VISION[1]).unlink()  # as by default then, it has 16-bit towers only
    extended = run_export(checkpoint, out, bits=(4,))
    assert extended.written == (VISION[1],)
    assert modified(out)[LLM[1]] == before[LLM[1]]
    run_export(checkpoint, tmp_path / "new", bits=(4,), vision_bits=16)
    run_export(checkpoint, tmp_path / "new", bits=(4,))
    assert contents(out) == contents(tmp_path / "new")


def test_an_old_tower_is_not_taken_for_a_new_one(
    checkpoint: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the same name and the same type; the message's cure must work."""
    old_bundle(checkpoint, out, monkeypatch)
    before = contents(out)
    with pytest.raises(BadInput, match=r"another version of imp-deploy .* --force") as caught:
        run_export(checkpoint, out, bits=(4,))
    assert one_sentence(str(caught.value))
    assert str(out / VISION[1]) in str(caught.value)
    assert contents(out) == before
    run_export(checkpoint, out, bits=(4,), vision_bits=16)  # what does not need it goes on
    (out / VISION[1]).unlink()
    assert run_export(checkpoint, out, bits=(4,)).written == (VISION[1],)
