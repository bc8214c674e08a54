"""Hub ids: what is downloaded, what is found on disk instead, and what happens offline."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from imp_deploy.convert.export import export
from imp_deploy.convert.hub import locate, needed
from imp_deploy.convert.model import read_model
from imp_deploy.convert.plan import Options
from imp_deploy.errors import BadInput
from tests.checkpoints import make_lora, make_plain, tower_of
from tests.quiet import Quiet
from tests.small import SIDE, SMALL, copied, edit_json, one_sentence, run_export

TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "merges.txt", "vocab.json"]
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = "model.safetensors.index.json"
TORCH = ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"]
ADAPTER = ["adapter_config.json", "adapter_model.safetensors"]
TRAINED = [*ADAPTER, "non_lora_trainables.bin"]
OTHERS = [
    *("README.md", ".gitattributes", "images/demo.png", "modeling_imp.py", "vision_encoder.py"),
    *("training_args.bin", "optimizer.pt", "imp-Q4_0.gguf", "tf_model.h5", "flax_model.msgpack"),
    *("onnx/model.safetensors", "old/pytorch_model.bin", "onnx/config.json"),
    *("mm_projector.bin", "checkpoint-500/adapter_model.safetensors", "trainer_state.json"),
]


@pytest.mark.parametrize(
    ("weights", "left_out"),
    [
        ([*SHARDS, INDEX], []),
        (["model.safetensors"], []),
        ([*SHARDS, INDEX], TORCH),
        (TORCH, []),
        (TORCH, ["consolidated.safetensors"]),
        (["llava.safetensors"], []),
        (TRAINED, ["adapter_model.bin"]),
        (ADAPTER, ["optimizer.safetensors"]),
        (["adapter_config.json", "adapter_model.bin", "non_lora_trainables.bin"], []),
        ([*SHARDS, INDEX], TRAINED),
        (TORCH, TRAINED),
    ],
)
def test_only_what_an_export_reads(weights: list[str], left_out: list[str]) -> None:
    """A repository holds the weights two or three times: gigabytes on a slow line."""
    wanted = ["config.json", *TOKENIZER, *weights]
    assert sorted(needed([*OTHERS, *wanted, *left_out])) == sorted(wanted)


class Hub:
    """A hub on disk: one folder per repository, and the files that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.repositories, self.cache = folder / "hub", folder / "cache"
        self.downloaded: dict[str, list[str]] = {}

    def add(self, hub_id: str, checkpoint: Path) -> Path:
        place = self.repositories / hub_id
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(checkpoint, place)
        for name in OTHERS:
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text("not needed")
        return place

    def model_info(self, hub_id: str, *, timeout: float) -> Any:
        assert timeout <= 10
        place = self.repositories / hub_id
        if not place.is_dir():
            raise OSError(f"404 Client Error: {hub_id} was not found.\nMore about it.")
        paths = [p for p in place.rglob("*") if p.is_file()]
        names = [str(p.relative_to(place)) for p in paths]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])

    def snapshot_download(self, hub_id: str, *, allow_patterns: list[str]) -> str:
        snapshot = self.cache / f"models--{hub_id.replace('/', '--')}" / "snapshots" / "0123abc"
        for path in (self.repositories / hub_id).rglob("*"):
            name = str(path.relative_to(self.repositories / hub_id))
            if path.is_file() and any(fnmatch.fnmatch(name, p) for p in allow_patterns):
                (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, snapshot / name)
                self.downloaded.setdefault(hub_id, []).append(name)
        return str(snapshot)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path)
    nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", nothing)
    monkeypatch.chdir(tmp_path)
    return made


def test_export_of_a_hub_id(made: Path, hub: Hub, tmp_path: Path) -> None:
    """The bundle is named after the repository, not after a commit's hash."""
    hub.add("MILVLG/imp-v1", made / "shards")
    located = locate("MILVLG/imp-v1", None)
    assert (located.tower, located.name) == (None, "MILVLG/imp-v1")
    assert "modeling_imp.py" not in hub.downloaded["MILVLG/imp-v1"]
    assert len(hub.downloaded["MILVLG/imp-v1"]) == len(list((made / "shards").iterdir()))
    exported = run_export(located.folder, tmp_path / "out", name=None, bits=(4,))
    assert exported.bundle.name == "imp-v1"


def test_the_tower_comes_from_the_hub_too(made: Path, hub: Hub, tmp_path: Path) -> None:
    """Checkpoints of the training repository only name their tower."""
    model = hub.add("MILVLG/imp-v1", made / "alone")
    hub.add("google/siglip", tower_of(made / "alone"))
    edit_json(model / "config.json", lambda c: c.update(mm_vision_tower="google/siglip"))
    located = locate("MILVLG/imp-v1", None)
    assert sorted(hub.downloaded["google/siglip"]) == ["config.json", "model.safetensors"]
    assert located.tower is not None
    assert run_export(located.folder, tmp_path / "out", tower=located.tower).written


def test_a_tower_that_is_given_wins(made: Path, hub: Hub) -> None:
    """`--vision-tower` is there for those whose network is slow or closed."""
    model = hub.add("MILVLG/imp-v1", made / "alone")
    edit_json(model / "config.json", lambda c: c.update(mm_vision_tower="google/siglip"))
    assert locate("MILVLG/imp-v1", str(made)).tower == made
    assert list(hub.downloaded) == ["MILVLG/imp-v1"]


def test_a_checkpoint_with_its_own_tower_needs_no_other(made: Path, hub: Hub) -> None:
    """Every Imp checkpoint names google/siglip: 3.5 GB that most of them do not need."""
    assert locate(str(made / "phi2"), None).tower is None
    assert hub.downloaded == {}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, a plain language model, and adapters of it with a tower `inside` and `separate`."""
    folder = tmp_path_factory.mktemp("tuned")
    base = make_plain(folder / "base", "phi2", sizes=SMALL)
    for tower in ("inside", "separate"):
        make_lora(
            *(folder / tower, base),
            family="phi2",
            naming="train",
            tower=tower,
            sizes=SMALL,
            image_size=SIDE,
        )
    return folder


def test_adapter_base_and_tower_from_the_hub(tuned: Path, hub: Hub, tmp_path: Path) -> None:
    """Three repositories, of which each is read only in part: two ids must be enough to export."""
    adapter = hub.add("someone/imp-lora", tuned / "separate")
    hub.add("microsoft/phi-2", tuned / "base")
    hub.add("google/siglip", tower_of(tuned / "separate"))
    edit_json(adapter / "config.json", lambda c: c.update(mm_vision_tower="google/siglip"))
    located = locate("someone/imp-lora", None, "microsoft/phi-2")
    assert sorted(hub.downloaded["someone/imp-lora"]) == sorted(["config.json", *TRAINED])
    assert set(hub.downloaded["microsoft/phi-2"]) >= {"config.json", "vocab.json", "merges.txt"}
    assert sorted(hub.downloaded["google/siglip"]) == ["config.json", "model.safetensors"]
    exported = export(
        located.folder,
        tmp_path / "out",
        Options(bits=(4,)),
        tower=located.tower,
        base=located.base,
        progress=Quiet(),
    )
    assert exported.bundle.name == "imp-lora"


def test_a_tower_that_was_trained_is_the_adapters(tuned: Path, hub: Hub) -> None:
    """A tower among the trained weights is not the one of its name on the hub."""
    adapter = hub.add("someone/imp-lora", tuned / "inside")
    edit_json(adapter / "config.json", lambda c: c.update(mm_vision_tower="google/siglip"))
    assert locate("someone/imp-lora", None, str(tuned / "base")).tower is None
    assert list(hub.downloaded) == ["someone/imp-lora"]


def test_the_tower_of_a_whole_base(made: Path, tuned: Path, hub: Hub, tmp_path: Path) -> None:
    """Adapters of PEFT alone have no config.json: the base says what tower it is, and where."""
    base = copied(made / "alone", tmp_path / "models" / "imp")
    edit_json(base / "config.json", lambda c: c.update(mm_vision_tower="google/siglip"))
    adapter = copied(tuned / "inside", tmp_path / "elsewhere" / "lora")
    for name in ("config.json", "non_lora_trainables.bin"):
        (adapter / name).unlink()
    hub.add("google/siglip", tower_of(made / "alone"))
    assert locate(str(adapter), None, str(base)).tower is not None
    assert sorted(hub.downloaded["google/siglip"]) == ["config.json", "model.safetensors"]
    beside = copied(tower_of(made / "alone"), tmp_path / "models" / "siglip")
    assert locate(str(adapter), None, str(base)).tower == beside


def test_the_base_of_what_is_no_adapter(made: Path, hub: Hub) -> None:
    """`--base` with a whole model is a mistake, which must not cost a download of gigabytes."""
    located = locate(str(made / "phi2"), None, "microsoft/phi-2")
    assert hub.downloaded == {}
    with pytest.raises(BadInput, match="leave out --base"):
        read_model(located.folder, None, None, located.base)


@pytest.mark.usefixtures("hub")
def test_a_base_that_is_not_found(tuned: Path) -> None:
    """The message must name the option that the folder is given with."""
    with pytest.raises(BadInput) as caught:
        locate(str(tuned / "inside"), None, "microsoft/phi-2")
    message = str(caught.value)
    assert one_sentence(message), message
    assert "microsoft/phi-2 is no local folder" in message
    assert "give its folder with --base" in message


@pytest.mark.parametrize("where", ["here", "inside", "beside", "absolute"])
def test_a_tower_on_disk(where: str, made: Path, hub: Hub, tmp_path: Path) -> None:
    """Whoever has downloaded the tower already must not need the hub."""
    checkpoint = copied(made / "alone", tmp_path / "models" / "imp")
    place = {
        "here": tmp_path / "google" / "siglip",
        "inside": checkpoint / "google" / "siglip",
        "beside": tmp_path / "models" / "siglip",
        "absolute": tmp_path / "towers" / "siglip",
    }[where]
    copied(tower_of(made / "alone"), place)
    named = str(place) if where == "absolute" else "google/siglip"
    edit_json(checkpoint / "config.json", lambda c: c.update(mm_vision_tower=named))
    found = locate(str(checkpoint), None).tower
    assert found is not None
    assert found.resolve() == place.resolve()
    assert hub.downloaded == {}


@pytest.mark.parametrize("named", [None, 5, [], "", ".", "/", "/nowhere", "x" * 5000, "a b/c"])
def test_a_tower_that_is_named_badly(named: Any, made: Path, hub: Hub, tmp_path: Path) -> None:
    """The name is data of the checkpoint: it may be anything."""
    checkpoint = copied(made / "alone", tmp_path / "models" / "imp")
    edit_json(checkpoint / "config.json", lambda c: c.update(mm_vision_tower=named))
    assert locate(str(checkpoint), None).tower is None
    assert hub.downloaded == {}


@pytest.mark.usefixtures("hub")
def test_names_that_are_not_found(made: Path, tmp_path: Path) -> None:
    """The message must say that there is neither a folder nor a repository of the name."""
    with pytest.raises(BadInput) as caught:
        locate("models/imp", None)
    message = str(caught.value)
    assert one_sentence(message), message
    assert "models/imp is no local folder" in message
    assert "404 Client Error" in message
    checkpoint = copied(made / "alone", tmp_path / "imp")
    edit_json(checkpoint / "config.json", lambda c: c.update(mm_vision_tower="google/siglip"))
    with pytest.raises(BadInput) as caught:
        locate(str(checkpoint), None)
    message = str(caught.value)
    assert one_sentence(message), message
    assert "google/siglip" in message
    assert str(checkpoint) in message
    assert "--vision-tower" in message


@pytest.mark.parametrize(
    "name", ["", "~no-such-user/a", "/a/b", "a/b/c", "x" * 5000, "a\0b", "a b/c"]
)
def test_names_that_no_hub_has(name: str, hub: Hub) -> None:
    """Paths are never sent to the hub."""
    assert locate(name, None).folder == Path(name)
    assert hub.downloaded == {}


def test_a_local_folder_wins(made: Path, hub: Hub, tmp_path: Path) -> None:
    """A folder that happens to look like a hub id is meant."""
    copied(made / "phi2", tmp_path / "models" / "imp")
    assert locate("models/imp", None).folder == Path("models/imp")
    assert hub.downloaded == {}


def program(arguments: list[Any], **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "imp_deploy", *map(str, arguments)]
    settings = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=settings)


@pytest.mark.parametrize(
    "environment", [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}], ids=str
)
def test_no_network(environment: dict[str, str], tmp_path: Path) -> None:
    """The library alone tries again for half a minute, and prints a line for each time."""
    began = time.monotonic()
    done = program(["export", "MILVLG/none", tmp_path / "o"], HF_HOME=str(tmp_path), **environment)
    assert done.returncode == 3, done.stderr
    assert time.monotonic() - began < 15
    assert done.stderr.startswith("Error: MILVLG/none is no local folder")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()


def in_the_cache(home: Path, hub_id: str, folder: Path) -> Path:
    """Puts `folder` where the library keeps a repository; returns the snapshot."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = home / "hub" / f"models--{hub_id.replace('/', '--')}"
    copied(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return repository / "snapshots" / commit


def test_cached_without_network(made: Path, tmp_path: Path) -> None:
    """What was downloaded once must not need the network again."""
    in_the_cache(tmp_path, "MILVLG/imp-v1", made / "phi2")
    arguments = ["export", "MILVLG/imp-v1", tmp_path / "o", "--bits", "4", "--json"]
    done = program(arguments, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    bundle = json.loads(done.stdout)["bundle"]
    assert (bundle["name"], bundle["source"]["model"]) == ("imp-v1", "MILVLG/imp-v1")


def test_a_cached_adapter_without_network(made: Path, tuned: Path, tmp_path: Path) -> None:
    """Adapters of PEFT alone have no config.json, by which other repositories are found."""
    cached = in_the_cache(tmp_path, "someone/lora", tuned / "inside")
    for name in ("config.json", "non_lora_trainables.bin"):
        (cached / name).unlink()
    base = made / "alone"
    arguments = ["export", "someone/lora", tmp_path / "o", "--base", base, "--bits", "4", "--json"]
    done = program(arguments, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bundle"]["name"] == "lora"
