"""What is kept between calls is used only when it is whole and of the same questions."""

from __future__ import annotations

from pathlib import Path

import pytest

from imp_deploy.bench.quality import sealed
from imp_deploy.bench.quality.batches import batches, look
from imp_deploy.bench.quality.pairs import pairs
from tests.bench.quality.subjects import own


def test_a_sealed_file_comes_back(tmp_path: Path) -> None:
    sealed.write(tmp_path / "a", "key", b"content\n\0")
    assert sealed.read(tmp_path / "a", "key") == b"content\n\0"


def test_files_that_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert sealed.read(path, "key") is None
    sealed.write(path, "key", b"content")
    assert sealed.read(path, "another key") is None
    whole = path.read_bytes()
    changed = [bytes([*whole[:i], whole[i] ^ 1, *whole[i + 1 :]]) for i in range(len(whole))]
    for content in (*changed, whole[:-1], whole + b"x", b"", b"no line end"):
        path.write_bytes(content)
        assert sealed.read(path, "key") is None


@pytest.mark.parametrize("limit", [1, 50_000, 90_000, 1 << 30])
def test_batches_are_bounded(small_bundle: Path, noise: Path, limit: int) -> None:
    """Raw logits of a real vocabulary would fill a disk."""
    (pair,) = pairs(small_bundle, bits=(4,))
    asked = look(own(noise).questions, lambda _: None)
    found = batches(asked, pair, 6, limit)
    assert [entry for batch in found for entry in batch.asked] == list(asked)
    assert [batch.index for batch in found] == list(range(len(found)))
    logits, embeddings = 6 * pair.vocabulary * 4, 16 * pair.hidden * 4
    for batch in found:
        size = len(batch.asked) * logits + len(batch.pictures) * (asked[0].bytes + embeddings)
        assert size <= limit or len(batch.asked) == 1
    assert len(found) == {1: 6, 1 << 30: 1}.get(limit, len(found))


def test_questions_about_one_picture_come_together(tmp_path: Path, noise: Path) -> None:
    """The tower runs once per picture. The same pixels under another name are the same picture."""
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes((noise / name).read_bytes())
    (tmp_path / "2.png").write_bytes((noise / "0.png").read_bytes())
    (tmp_path / "prompts.txt").write_text("What is this?\n")
    asked = look(own(tmp_path).questions, lambda _: None)
    assert [entry.question.id for entry in asked] == ["0.png#1", "2.png#1", "1.png#1"]
