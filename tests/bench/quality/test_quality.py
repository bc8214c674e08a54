"""`quality` from end to end, with the real runner."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from imp_deploy import quality
from imp_deploy.bench.quality.measure import Settings
from imp_deploy.errors import BadInput, Interrupted
from imp_deploy.quality import metrics
from tests.bench.quality.subjects import SETTINGS, Counted, compare, own, scenes, starts
from tests.small import copied, edit_json

NAMES = (
    "Imp-quality-folder-8bit-56-vision8.json",
    "Imp-quality-folder-4bit-56-vision8.json",
)


def test_the_reference_against_itself(demo_bundle: Path, tmp_path: Path) -> None:
    """Anything but exact zeros would make a gate fail an unchanged release, or need a tolerance."""
    (found,) = compare(demo_bundle, scenes(8), tmp_path, bits=(16,), resolutions=(196,))
    for item in found.result.items:
        assert set(item.kl) == {0.0}
        assert all(item.agree)
        assert item.log_p == item.reference_log_p
        assert len(item.kl) == 2  # one word, and the end of generation
        assert (item.worst_cosine, item.mean_cosine) == (1.0, 1.0)
    assert metrics(found.result.items)["perplexity_ratio"] == 1.0


def test_long_answers_about_the_same_pictures_against_themselves(
    small_bundle: Path, noise: Path, tmp_path: Path
) -> None:
    (found,) = compare(small_bundle, own(noise), tmp_path, bits=(16,))
    assert [len(item.kl) for item in found.result.items] == [6] * 6
    assert {value for item in found.result.items for value in item.kl} == {0.0}
    assert {item.worst_cosine for item in found.result.items} == {1.0}


def test_eight_bits_are_nearer_than_four(demo_bundle: Path, tmp_path: Path) -> None:
    eight, four = compare(
        demo_bundle, scenes(12), tmp_path, bits=(8, 4), resolutions=(196,), vision_bits=(16,)
    )
    first, second = metrics(eight.result.items), metrics(four.result.items)
    assert 0 < first["mean_kl"] < second["mean_kl"] / 5
    assert 0 < first["p99_kl"] < second["p99_kl"]
    assert (eight.result.variant.bits, four.result.variant.bits) == (8, 4)
    assert first["worst_cosine"] == second["worst_cosine"] == 1.0  # the tower is the reference's
    assert 0 < eight.result.dropped_mass < 1e-4


def test_the_tower_of_eight_bits_is_compared_too(demo_bundle: Path, tmp_path: Path) -> None:
    """It is the one that these variants have on a phone; alone, it is far from the four bits of a
    language model."""
    (tower,) = compare(
        demo_bundle, scenes(12), tmp_path, bits=(16,), resolutions=(196,), vision_bits=(8,)
    )
    (both,) = compare(demo_bundle, scenes(12), tmp_path, bits=(4,), resolutions=(196,))
    assert both.result.variant.vision_bits == tower.result.variant.vision_bits == 8
    first, second = metrics(tower.result.items), metrics(both.result.items)
    assert 0.999 < first["worst_cosine"] == second["worst_cosine"] < 1.0
    assert 0 < first["mean_kl"] < second["mean_kl"] / 5


def test_results_are_files_in_the_order_of_the_benchmark(
    small_bundle: Path, noise: Path, tmp_path: Path
) -> None:
    """They are asked in another order, picture by picture."""
    place, out = tmp_path / "own", tmp_path / "out"
    shutil.copytree(noise, place)
    (place / "prompts.txt").unlink()
    asked = [{"id": i, "image": f"{i % 2}.png", "prompt": f"Is it {i}?"} for i in range(5)]
    (place / "prompts.jsonl").write_text("\n".join(map(json.dumps, asked)))
    found = compare(small_bundle, own(place), out)
    assert [entry.path.name for entry in found] == list(NAMES)
    for entry in found:
        assert quality.load(entry.path) == entry.result
        assert [item.id for item in entry.result.items] == ["0", "1", "2", "3", "4"]
    left = {path.name for path in out.rglob("*") if path.is_file()}
    assert left == {*NAMES, "0000.part"}


def test_the_reference_is_computed_once(
    small_bundle: Path, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its 16 bits are the slowest of all: once for all variants, also in a later call."""
    with starts(monkeypatch) as started:
        compare(small_bundle, own(noise), tmp_path, bits=(8,))
        compare(small_bundle, own(noise), tmp_path)
    assert started.models == ["Imp-F16.gguf", "Imp-Q8_0.gguf", "Imp-Q4_0.gguf"]


def test_what_is_there_is_kept_and_force_compares_again(
    small_bundle: Path, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = compare(small_bundle, own(noise), tmp_path, bits=(4,))
    with starts(monkeypatch) as started:
        (second,) = compare(small_bundle, own(noise), tmp_path, bits=(4,))
        assert (second.kept, second.result, started.models) == (True, first.result, [])
        (third,) = compare(small_bundle, own(noise), tmp_path, bits=(4,), force=True)
    assert started.models == ["Imp-Q4_0.gguf"]
    assert third.result.items == first.result.items


def test_other_questions_do_not_overwrite_a_result(
    small_bundle: Path, noise: Path, tmp_path: Path
) -> None:
    (old,) = compare(small_bundle, own(noise), tmp_path, bits=(4,))
    before = old.path.read_bytes()
    longer = dataclasses.replace(SETTINGS, max_tokens=7)
    with pytest.raises(BadInput, match=r"max_tokens was 6 now 7.*--out"):
        compare(small_bundle, own(noise), tmp_path, bits=(4,), settings=longer)
    with pytest.raises(BadInput, match=r"task\.asked was 6 now 3"):
        compare(small_bundle, own(noise, limit=3), tmp_path, bits=(4,))
    assert old.path.read_bytes() == before


def test_a_changed_picture_of_the_same_name(
    small_bundle: Path, noise: Path, tmp_path: Path
) -> None:
    place = tmp_path / "own"
    place.mkdir()
    for path in noise.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    compare(small_bundle, own(place), tmp_path / "out", bits=(4,))
    (place / "0.png").write_bytes((place / "1.png").read_bytes())
    with pytest.raises(BadInput, match="pictures_sha256"):
        compare(small_bundle, own(place), tmp_path / "out", bits=(4,))


@pytest.mark.parametrize("phase", ["reference 16-bit@56", "4-bit@56"])
def test_an_interrupted_comparison_goes_on(
    small_bundle: Path,
    noise: Path,
    tmp_path: Path,
    phase: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After hours of work on a real model, all but the batch at hand is there."""
    single = dataclasses.replace(SETTINGS, batch_bytes=1)
    (whole,) = compare(small_bundle, own(noise), tmp_path / "whole", bits=(4,), settings=single)
    out = tmp_path / "out"
    stopped = Counted(stop=(phase, 4))
    with starts(monkeypatch) as started, pytest.raises(Interrupted):
        compare(small_bundle, own(noise), out, bits=(4,), settings=single, progress=stopped)
    assert all(program.returncode is not None for program in started.programs)
    assert list(out.glob("*.json")) == []
    assert list(out.glob("*/scratch-*")) == []
    rest = Counted()
    (found,) = compare(small_bundle, own(noise), out, bits=(4,), settings=single, progress=rest)
    assert 0 < rest.phases[phase] <= 4
    assert found.result.items == whole.result.items
    assert found.result.dropped_mass == whole.result.dropped_mass


def test_what_is_left_of_one_variant_is_not_taken_for_another(
    small_bundle: Path, noise: Path, tmp_path: Path
) -> None:
    (alone,) = compare(small_bundle, own(noise), tmp_path / "alone", bits=(8,))
    single = dataclasses.replace(SETTINGS, batch_bytes=1)
    out = tmp_path / "out"
    stopped = Counted(stop=("4-bit@56", 4))
    with pytest.raises(Interrupted):
        compare(small_bundle, own(noise), out, bits=(4,), settings=single, progress=stopped)
    (found,) = compare(small_bundle, own(noise), out, bits=(8,), settings=single)
    assert found.result.items == alone.result.items


def test_references_do_not_mix(small_bundle: Path, noise: Path, tmp_path: Path) -> None:
    """Files are the same, what they are asked is not."""
    other = copied(small_bundle, tmp_path / "other")
    edit_json(other / "bundle.json", lambda m: m["prompt"].update(template="<image>{question}"))
    out = tmp_path / "out"
    (first,) = compare(small_bundle, own(noise), out, bits=(4,))
    (second,) = compare(small_bundle, own(noise), out, bits=(4,), reference=other, force=True)
    assert metrics(second.result.items)["mean_kl"] > 10 * metrics(first.result.items)["mean_kl"]


def test_a_damaged_part_is_computed_again(small_bundle: Path, noise: Path, tmp_path: Path) -> None:
    single = dataclasses.replace(SETTINGS, batch_bytes=1)
    (first,) = compare(small_bundle, own(noise), tmp_path, bits=(4,), settings=single)
    parts = sorted(tmp_path.glob("reference-*/*.part"))
    assert len(parts) == 6
    intact = [part.read_bytes() for part in parts]
    parts[0].write_bytes(intact[0][: len(intact[0]) // 2])
    parts[1].write_bytes(intact[1][:5000] + bytes([intact[1][5000] ^ 1]) + intact[1][5001:])
    parts[2].write_bytes(intact[3])
    parts[4].unlink()
    again = Counted()
    (second,) = compare(
        small_bundle,
        own(noise),
        tmp_path,
        bits=(4,),
        settings=single,
        force=True,
        progress=again,
    )
    assert again.phases["reference 16-bit@56"] == 4
    assert second.result.items == first.result.items
    assert [part.read_bytes() for part in parts] == intact


def test_raw_logits_do_not_pile_up(small_bundle: Path, noise: Path, tmp_path: Path) -> None:
    """Of a vocabulary of 51200, a question's take megabytes."""
    most = 0

    def look() -> None:
        nonlocal most
        folders = {path.parent for path in tmp_path.glob("reference-*/scratch-*/*/*")}
        most = max(most, len(folders))

    single = dataclasses.replace(SETTINGS, batch_bytes=1)
    shown = Counted(each=look)
    compare(small_bundle, own(noise), tmp_path, bits=(4,), settings=single, progress=shown)
    assert 1 <= most <= 2


def test_what_a_killed_program_left_is_removed(
    small_bundle: Path, noise: Path, tmp_path: Path
) -> None:
    compare(small_bundle, own(noise), tmp_path, bits=(8,))
    (folder,) = tmp_path.glob("reference-*")
    left = folder / "scratch-old" / "0"
    left.mkdir(parents=True)
    (left / "0.logits").write_bytes(bytes(1000))
    compare(small_bundle, own(noise), tmp_path, bits=(4,))
    assert not left.exists()


def test_settings_of_their_own_have_a_reference_of_their_own(
    small_bundle: Path, noise: Path, tmp_path: Path
) -> None:
    compare(small_bundle, own(noise), tmp_path, bits=(4,))
    shorter = Settings(threads=1, max_tokens=2)
    compare(small_bundle, own(noise), tmp_path, bits=(8,), settings=shorter)
    assert len(list(tmp_path.glob("reference-*"))) == 2
