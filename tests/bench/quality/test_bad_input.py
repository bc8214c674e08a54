"""What cannot be compared is refused before any work, in a sentence with a cure."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imp_deploy import bundle as bundles
from imp_deploy.bench.quality.pairs import pairs
from imp_deploy.cli.main import app
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.files import sha256_of
from tests.bench.quality.subjects import compare, own
from tests.small import copied, edit_json, one_sentence


def command(*arguments: object) -> Any:
    runner = CliRunner(env={"COLUMNS": "200"})
    return runner.invoke(app, ["quality", *map(str, arguments)], catch_exceptions=False)


def refused(*arguments: object) -> str:
    with pytest.raises(BadInput) as caught:
        command(*arguments)
    message = str(caught.value)
    assert one_sentence(message), message
    return message


def only(bundle: Path, place: Path, *names: str) -> Path:
    """A copy of `bundle` with these files only."""
    copied(bundle, place)
    edit_json(
        place / bundles.MANIFEST,
        lambda m: m.update(files=[f for f in m["files"] if f["path"] in names]),
    )
    return place


def test_a_bundle_without_reference(small_bundle: Path, noise: Path, tmp_path: Path) -> None:
    tower = "mmproj-Imp-56-F16.gguf"
    without = only(small_bundle, tmp_path / "a", "Imp-Q4_0.gguf", tower)
    message = refused(without, "--task", "folder", "--data", noise)
    assert "no 16-bit language model" in message
    assert "--reference" in message
    found = pairs(without, reference=small_bundle)
    assert [pair.candidate.variant.llm.bits for pair in found] == [4]


def test_a_bundle_of_nothing_but_the_reference(
    small_bundle: Path, noise: Path, tmp_path: Path
) -> None:
    alone = only(small_bundle, tmp_path / "a", "Imp-F16.gguf", "mmproj-Imp-56-F16.gguf")
    message = refused(alone, "--task", "folder", "--data", noise)
    assert "nothing but the 16-bit reference" in message


def test_which_variants_are_compared(small_bundle: Path) -> None:
    def bits(**wanted: Any) -> list[tuple[int, int]]:
        variants = [pair.candidate.variant for pair in pairs(small_bundle, **wanted)]
        return [(variant.llm.bits, variant.vision.bits) for variant in variants]

    assert bits() == [(8, 8), (4, 8)]
    assert bits(bits=(16, 4)) == [(16, 16), (4, 8)]
    assert bits(reference=small_bundle) == [(16, 16), (8, 8), (4, 8)]
    assert bits(vision_bits=(16,)) == [(8, 16), (4, 16)]
    assert bits(bits=(4,), vision_bits=(16, 8)) == [(4, 16), (4, 8)]
    assert bits(vision_bits=(8,)) == [(16, 8), (8, 8), (4, 8)]
    found = pairs(small_bundle, vision_bits=(8,))
    assert {(p.reference.variant.llm.bits, p.reference.variant.vision.bits) for p in found} == {
        (16, 16)
    }


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--bits", "4", "--resolution", 384], "resolution 384"),
        (["--vision-bits", "4"], "bits 4"),
        (["--split", "val"], "val"),
    ],
)
def test_what_is_not_there(
    small_bundle: Path, noise: Path, tmp_path: Path, options: list[object], named: str
) -> None:
    out = tmp_path / "out"
    message = refused(small_bundle, "--task", "folder", "--data", noise, "--out", out, *options)
    assert named in message
    assert not out.exists()


def test_an_unknown_task(small_bundle: Path) -> None:
    with pytest.raises(BadInput, match="no task 'nothing'"):
        command(small_bundle, "--task", "nothing")


def test_pictures_that_cannot_be_read(small_bundle: Path, noise: Path, tmp_path: Path) -> None:
    """Known before the model runs for an hour, also where it is the last one."""
    place = tmp_path / "own"
    shutil.copytree(noise, place)
    (place / "9.png").write_bytes((place / "0.png").read_bytes()[:300])
    out = tmp_path / "out"
    message = refused(small_bundle, "--task", "folder", "--data", place, "--out", out)
    assert "9.png" in message
    assert list(out.glob("reference-*")) == []
    (place / "9.png").write_text("no picture")
    refused(small_bundle, "--task", "folder", "--data", place, "--out", out)


@pytest.mark.parametrize("what", ["empty", "missing", "file"])
def test_folders_that_hold_nothing(small_bundle: Path, tmp_path: Path, what: str) -> None:
    place = tmp_path / "own"
    if what == "empty":
        place.mkdir()
    elif what == "file":
        place.write_text("")
    refused(small_bundle, "--task", "folder", "--data", place, "--out", tmp_path / "out")


def test_a_prompt_that_cannot_be_asked(small_bundle: Path, noise: Path, tmp_path: Path) -> None:
    place = tmp_path / "own"
    shutil.copytree(noise, place)
    (place / "prompts.txt").write_text("What is <image>?\n")
    message = refused(small_bundle, "--task", "folder", "--data", place, "--out", tmp_path / "out")
    assert message.startswith("The question 0.png#1 cannot be asked")


def test_an_answer_longer_than_the_model_can_hold(
    small_bundle: Path, noise: Path, tmp_path: Path
) -> None:
    arguments = ("--data", noise, "--out", tmp_path / "out", "--max-tokens", 1_000_000)
    message = refused(small_bundle, "--task", "folder", *arguments)
    assert "0.png#1" in message
    assert "--max-tokens" in message


def test_places_that_take_no_result(small_bundle: Path, noise: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    arguments = (small_bundle, "--task", "folder", "--data", noise, "--bits", "4", "--out")
    refused(*arguments, tmp_path / "file")
    refused(*arguments, tmp_path / "file" / "inside")
    if os.geteuid() != 0:  # root may write everywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        refused(*arguments, tmp_path / "closed")
    (tmp_path / "out" / "Imp-quality-folder-4bit-56-vision8.json").mkdir(parents=True)
    message = refused(*arguments, tmp_path / "out")
    assert "Imp-quality-folder-4bit-56-vision8.json" in message
    refused(*arguments, tmp_path / "out", "--force")


def test_a_changed_file(small_bundle: Path, noise: Path, tmp_path: Path) -> None:
    """Results are told apart by the manifest's hashes, so these must be true."""
    changed = copied(small_bundle, tmp_path / "changed")
    path = changed / "Imp-Q4_0.gguf"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    message = refused(changed, "--task", "folder", "--data", noise, "--out", tmp_path / "out")
    assert "Imp-Q4_0.gguf was changed" in message


def test_a_language_model_that_is_none(small_bundle: Path, noise: Path, tmp_path: Path) -> None:
    broken = copied(small_bundle, tmp_path / "broken")
    path = broken / "Imp-Q4_0.gguf"
    path.write_bytes(b"GGUF" + bytes(path.stat().st_size - 4))
    rehash(broken, path)
    message = refused(broken, "--task", "folder", "--data", noise, "--out", tmp_path / "out")
    assert "Imp-Q4_0.gguf" in message


def test_a_runner_that_fails(small_bundle: Path, noise: Path, tmp_path: Path) -> None:
    """A tower that llama.cpp does not load is an error with evidence, not an endless wait."""
    broken = copied(small_bundle, tmp_path / "broken")
    path = broken / "mmproj-Imp-56-F16.gguf"
    path.write_bytes(bytes(path.stat().st_size))
    rehash(broken, path)
    with pytest.raises(DeviceError, match="mmproj-Imp-56-F16"):
        compare(broken, own(noise), tmp_path / "out", bits=(4,))
    assert list((tmp_path / "out").glob("*/scratch-*")) == []


def rehash(bundle: Path, path: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        for file in manifest["files"]:
            if file["path"] == path.name:
                file["sha256"] = sha256_of(path)

    edit_json(bundle / bundles.MANIFEST, change)


def test_as_json(small_bundle: Path, noise: Path, tmp_path: Path) -> None:
    arguments = (small_bundle, "--task", "folder", "--data", noise, "--out", tmp_path / "out")
    done = command(*arguments, "--threads", 1, "--max-tokens", 3, "--limit", 4, "--json")
    value = json.loads(done.stdout)
    assert [entry["variant"]["bits"] for entry in value["results"]] == [8, 4]
    first = value["results"][0]
    assert (first["questions"], first["positions"]) == (4, 12)
    assert set(first["summary"]) == {
        *("mean_kl", "p99_kl", "top1_agreement", "perplexity_ratio"),
        *("worst_cosine", "mean_cosine"),
    }
    table = command(*arguments, "--threads", 1, "--max-tokens", 3, "--limit", 4)
    assert "8-bit@56" in table.stdout
    assert "2 of 2 were compared before" in table.stderr
