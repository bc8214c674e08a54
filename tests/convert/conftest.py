"""Small checkpoints, made once; tests that change one take a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import copied, small_checkpoint


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small checkpoints of every kind."""
    folder = tmp_path_factory.mktemp("small")
    small_checkpoint(folder / "phi2")
    small_checkpoint(folder / "shards", shards=3)
    small_checkpoint(folder / "bin", weights="bin")
    small_checkpoint(folder / "bf16", dtype="bf16")
    small_checkpoint(folder / "f32", dtype="f32")
    small_checkpoint(folder / "qwen2", family="qwen2", naming="train")
    small_checkpoint(folder / "phi3", family="phi3", naming="train")
    small_checkpoint(folder / "alone", naming="train", tower="separate")
    return folder


@pytest.fixture
def checkpoint(made: Path, tmp_path: Path) -> Path:
    """A small Imp on Phi-2 that the test may spoil."""
    return copied(made / "phi2", tmp_path / "checkpoint")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "bundle"
