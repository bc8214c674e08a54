"""An adapter that does not fit its base, or is more than plain LoRA, is refused in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imp_deploy.convert.export import export
from imp_deploy.convert.plan import Options
from imp_deploy.errors import BadInput
from tests.checkpoints import Sizes, make_lora, make_plain, tower_of
from tests.quiet import Quiet
from tests.small import edit_json, edit_weights, finished_files, one_sentence


def refused(adapter: Path, base: Path | None, *parts: str, tower: Path | None = None) -> None:
    out = adapter.parent / "refused"
    with pytest.raises(BadInput) as caught:
        export(adapter, out, Options(bits=(16,)), base=base, tower=tower, progress=Quiet())
    message = str(caught.value)
    assert one_sentence(message), message
    assert [part for part in parts if part not in message] == [], message
    assert finished_files(out) == []


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base and an adapter for it."""
    place = tmp_path_factory.mktemp("lora")
    base = make_plain(place / "base", "phi2", "train")
    adapter = make_lora(place / "lora", base, family="phi2", naming="train", tower="inside")
    edit_json(
        adapter / "adapter_config.json",
        lambda c: c.update(base_model_name_or_path="microsoft/phi-2"),
    )
    return base, adapter


def test_without_its_base(folders: tuple[Path, Path]) -> None:
    refused(folders[1], None, "LoRA adapter", "microsoft/phi-2", "--base")


def test_a_base_for_a_whole_model(folders: tuple[Path, Path]) -> None:
    refused(folders[0], folders[0], "no LoRA adapter", "--base")


def test_an_adapter_as_the_base(folders: tuple[Path, Path]) -> None:
    refused(folders[1], folders[1], "LoRA adapter itself")


@pytest.mark.parametrize("family", ["qwen2", "phi3", "llama"])
def test_a_base_of_another_architecture(
    family: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    base = make_plain(tmp_path / "base", family)  # type: ignore[arg-type]
    refused(folders[1], base, str(base), "imp-phi2", "microsoft/phi-2")


def test_a_base_of_another_size(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Phi-1.5 under an adapter for Phi-2: the same architecture, narrower."""
    base = make_plain(tmp_path / "base", "phi2", "train", sizes=Sizes(hidden=128, inner=256))
    refused(folders[1], base, str(base), "128", "256", "microsoft/phi-2")


def test_a_base_with_fewer_layers(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base = make_plain(tmp_path / "base", "phi2", "train", sizes=Sizes(layers=1))
    refused(folders[1], base, "layers.1", str(base))


def test_a_base_with_another_vocabulary(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """What no adapted module shows."""
    base = make_plain(tmp_path / "base", "phi2", "train")

    def shorter(tensors: dict[str, Any]) -> None:
        name = "model.embed_tokens.weight"
        tensors[name] = tensors[name][:-64].copy()

    edit_weights(base / "model.safetensors", shorter)
    refused(folders[1], base, "embed_tokens", "microsoft/phi-2")


def copy_of(folders: tuple[Path, Path], place: Path) -> Path:
    return Path(shutil.copytree(folders[1], place / "copy"))


def test_no_config_and_a_plain_base(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Nobody says then what the projector and the tower are."""
    adapter = copy_of(folders, tmp_path)
    (adapter / "config.json").unlink()
    refused(adapter, folders[0], str(adapter), "no config.json", "language model alone")


def test_no_projector_anywhere(folders: tuple[Path, Path], tmp_path: Path) -> None:
    adapter = copy_of(folders, tmp_path)
    (adapter / "non_lora_trainables.bin").unlink()
    refused(adapter, folders[0], "vision tower", "--vision-tower")


def test_a_projector_that_was_not_saved(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base, _ = folders
    adapter = make_lora(
        tmp_path / "lora", base, family="phi2", naming="train", tower="separate", projector=False
    )
    refused(adapter, base, "mm_projector", "non_lora_trainables.bin", tower=tower_of(adapter))


def test_an_adapter_that_diverged(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """The sentence names the adapter, not only the base, which is in order."""
    adapter = copy_of(folders, tmp_path)

    def spoil(tensors: dict[str, Any]) -> None:
        name = next(name for name in tensors if "lora_B" in name)
        tensors[name][0, 0] = np.nan

    edit_weights(adapter / "adapter_model.safetensors", spoil)
    refused(adapter, folders[0], str(adapter / "adapter_model.safetensors"), "NaN")


def test_an_adapter_for_another_architecture(tmp_path: Path) -> None:
    """An adapter of Phi-3 whose config.json says Imp on Phi-2."""
    other = make_plain(tmp_path / "phi3", "phi3")
    adapter = make_lora(tmp_path / "lora", other, family="phi3", naming="train", tower="inside")
    base = make_plain(tmp_path / "base", "phi2", "train")
    mine = make_lora(tmp_path / "mine", base, family="phi2", naming="train", tower="inside")
    (adapter / "config.json").write_bytes((mine / "config.json").read_bytes())
    refused(adapter, base, "no such module", "another architecture")


def test_an_adapter_of_something_that_is_not_exported(tmp_path: Path) -> None:
    """With tied embeddings the output head is the table itself: its adapter has no place."""
    base = make_plain(tmp_path / "base", "qwen2", "train")
    adapter = make_lora(
        tmp_path / "lora",
        base,
        family="qwen2",
        naming="train",
        tower="inside",
        targets=("q_proj", "lm_head"),
    )
    edit_json(adapter / "config.json", lambda c: c.update(tie_word_embeddings=True))
    refused(adapter, base, "lm_head")


def test_a_head_that_was_trained_and_is_not_exported(tmp_path: Path) -> None:
    base = make_plain(tmp_path / "base", "qwen2", "train")
    adapter = make_lora(
        tmp_path / "lora",
        base,
        family="qwen2",
        naming="train",
        tower="inside",
        modules_to_save=("lm_head",),
    )
    edit_json(adapter / "config.json", lambda c: c.update(tie_word_embeddings=True))
    refused(adapter, base, "lm_head")


@pytest.mark.parametrize(("base_naming", "naming"), [("train", "train"), ("hub", "train")])
def test_an_adapter_that_is_too_short(base_naming: str, naming: str, tmp_path: Path) -> None:
    """Half of the rows would get nothing, and nobody would see it."""
    base = make_plain(tmp_path / "base", "phi2", base_naming)  # type: ignore[arg-type]
    adapter = make_lora(
        tmp_path / "lora",
        base,
        family="phi2",
        naming=naming,
        tower="inside",  # type: ignore[arg-type]
    )

    def shorten(tensors: dict[str, Any]) -> None:
        name = next(n for n in tensors if n.endswith("layers.0.self_attn.q_proj.lora_B.weight"))
        tensors[name] = tensors[name][::2].copy()

    edit_weights(adapter / "adapter_model.safetensors", shorten)
    refused(adapter, base, "q_proj", "128 x 256")


def test_trained_biases_of_split_projections_on_a_fused_base(tmp_path: Path) -> None:
    base = make_plain(tmp_path / "base", "phi2", "hub")
    adapter = make_lora(tmp_path / "lora", base, family="phi2", naming="train", tower="inside")

    def add(tensors: dict[str, Any]) -> None:
        name = "base_model.model.model.layers.0.self_attn.k_proj.bias"
        tensors[name] = np.zeros(256, np.float16)

    edit_weights(adapter / "adapter_model.safetensors", add)
    refused(adapter, base, "k_proj.bias", "part of another tensor", "same names")


def test_rows_that_are_adapted_twice(tmp_path: Path) -> None:
    """Once in the fused matrix and once in a part of it: nobody trained both."""
    base = make_plain(tmp_path / "base", "phi2", "hub")
    adapter = make_lora(tmp_path / "lora", base, family="phi2", naming="hub", tower="inside")

    def add(tensors: dict[str, Any]) -> None:
        module = "base_model.model.model.layers.0.self_attn.k_proj"
        tensors[f"{module}.lora_A.weight"] = np.zeros((8, 256), np.float16)
        tensors[f"{module}.lora_B.weight"] = np.zeros((256, 8), np.float16)

    edit_weights(adapter / "adapter_model.safetensors", add)
    refused(adapter, base, "Wqkv", "twice")


def test_an_adapter_of_a_tower_that_is_elsewhere(tmp_path: Path) -> None:
    base = make_plain(tmp_path / "base", "phi2", "train")
    adapter = make_lora(tmp_path / "lora", base, family="phi2", naming="train", tower="separate")

    def add(tensors: dict[str, Any]) -> None:
        tower = "model.vision_tower.vision_tower.vision_model"
        module = f"base_model.model.{tower}.encoder.layers.0.mlp.fc1"
        tensors[f"{module}.lora_A.weight"] = np.zeros((8, 64), np.float16)
        tensors[f"{module}.lora_B.weight"] = np.zeros((100, 8), np.float16)

    edit_weights(adapter / "adapter_model.safetensors", add)
    refused(adapter, base, "vision tower", "holds the tower", tower=tower_of(adapter))


def test_a_base_with_more_layers(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base = make_plain(tmp_path / "base", "phi2", "train", sizes=Sizes(layers=3))
    refused(folders[1], base, "layers.2", "microsoft/phi-2")


def test_a_config_with_more_layers_than_the_base(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    adapter = copy_of(folders, tmp_path)
    edit_json(adapter / "config.json", lambda c: c.update(num_hidden_layers=3))
    refused(adapter, folders[0], "layers.2", "microsoft/phi-2")


def test_several_adapters_in_one_folder(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """As PEFT saves them: each in a folder under its name."""
    for name in ("x", "y"):
        shutil.copytree(folders[1], tmp_path / "many" / name)
    shutil.copy(folders[1] / "config.json", tmp_path / "many")
    refused(tmp_path / "many", None, "x, y", "one of them")
