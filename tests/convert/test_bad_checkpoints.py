"""Weights that cannot be used: each is refused with a sentence, and nothing is written."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imp_deploy.convert.checkpoint import open_checkpoint, read_rows
from imp_deploy.errors import BadInput
from tests.checkpoints import tower_of
from tests.small import copied, edit_json, edit_weights, refused, run_export

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
EMBEDDING = "transformer.embd.wte.weight"
QKV = "transformer.h.0.mixer.Wqkv.weight"
NORM = "transformer.h.0.ln.weight"
PATCHES = "transformer.vision_tower.vision_tower.vision_model.embeddings.patch_embedding.weight"
POSITIONS = PATCHES.replace("patch_embedding", "position_embedding")

Header = dict[str, Any]


def rewrite_header(
    path: Path, change: Callable[[Header], object], length: int | None = None
) -> None:
    """Changes the JSON header and leaves the data as they are; `length` lies about its size."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    said = struct.pack("<Q", len(text) if length is None else length)
    path.write_bytes(said + text + content[8 + size :])


def same(_header: Header) -> None:
    pass


def offsets(begin: int, end: int) -> Callable[[Header], object]:
    return lambda header: header[EMBEDDING].update(data_offsets=[begin, end])


@pytest.mark.parametrize(
    ("change", "length"),
    [
        pytest.param(same, 2**63, id="length beyond any file"),
        pytest.param(same, 200 << 20, id="length of 200 MB"),
        pytest.param(same, 100_000_000, id="length beyond this file"),
        pytest.param(same, 16, id="length too small"),
        pytest.param(same, 0, id="length zero"),
        pytest.param(offsets(-8, 8), None, id="negative offset"),
        pytest.param(offsets(0, 8), None, id="overlap"),
        pytest.param(offsets(10**12, 10**12 + 8), None, id="offset beyond the file"),
        pytest.param(lambda h: h.pop(EMBEDDING), None, id="hole"),
        pytest.param(lambda h: h[EMBEDDING].update(shape=[-1, -1]), None, id="negative shape"),
        pytest.param(lambda h: h[EMBEDDING].update(shape=[2**62, 8]), None, id="overflowing shape"),
        pytest.param(lambda h: h[EMBEDDING].update(shape=[1, 1]), None, id="shape of other size"),
        pytest.param(lambda h: h[EMBEDDING].update(dtype="F12"), None, id="unknown type"),
        pytest.param(lambda h: h.update({EMBEDDING: [1, 2]}), None, id="no object"),
    ],
)
def test_lying_header(
    change: Callable[[Header], object], length: int | None, checkpoint: Path, out: Path
) -> None:
    """Otherwise bytes of one tensor end up in another, or the program eats all memory."""
    rewrite_header(checkpoint / WEIGHTS, change, length)
    refused(checkpoint, out, f"{checkpoint / WEIGHTS} is not a whole safetensors file")


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_truncated_file(kept: int, checkpoint: Path, out: Path) -> None:
    """A download that broke off is the most common damage."""
    path = checkpoint / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    refused(checkpoint, out, f"{path} is not a whole safetensors file", "download it again")


def test_tensor_twice_in_one_header(checkpoint: Path, out: Path) -> None:
    """Readers differ in which of the two they take."""
    path = checkpoint / WEIGHTS
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    text = content[8 : 8 + size].rstrip()
    entry = json.dumps(json.loads(text)[EMBEDDING]).encode()
    text = text[:-1] + b', "' + EMBEDDING.encode() + b'": ' + entry + b"}"
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
    refused(checkpoint, out, str(path), EMBEDDING, "2 times")


def test_file_that_shrinks_while_it_is_read(checkpoint: Path, out: Path) -> None:
    """Otherwise an export hangs, or fills a tensor with whatever was in memory."""
    tensor = open_checkpoint(checkpoint).tensors[EMBEDDING]
    os.truncate(tensor.path, tensor.offset + 10)
    handle = os.open(tensor.path, os.O_RDONLY)
    with pytest.raises(BadInput, match=f"ends inside the tensor {EMBEDDING}"):
        read_rows(tensor, 0, tensor.rows, handle)
    os.close(handle)
    assert not out.exists()


@pytest.fixture
def shards(made: Path, tmp_path: Path) -> Path:
    return copied(made / "shards", tmp_path / "checkpoint")


def second(shards: Path) -> Path:
    return shards / "model-00002-of-00003.safetensors"


def test_shards_give_the_same_files_as_one(made: Path, shards: Path, tmp_path: Path) -> None:
    """Otherwise the bundle depends on how the weights were saved."""
    hashes = [
        [file.sha256 for file in run_export(folder, tmp_path / name).bundle.files]
        for name, folder in (("one", made / "phi2"), ("three", shards))
    ]
    assert hashes[0] == hashes[1]


def test_missing_shard(shards: Path, out: Path) -> None:
    """The message must name the file to download."""
    second(shards).unlink()
    refused(shards, out, str(shards), second(shards).name, "download")


def test_missing_index(shards: Path, out: Path) -> None:
    """Without the index nobody knows whether the shards are all there."""
    (shards / INDEX).unlink()
    refused(shards, out, str(shards), INDEX, "download the index")


def test_same_tensors_in_two_shards(shards: Path, out: Path) -> None:
    """A stale shard of an older download must not win by its name."""
    second(shards).write_bytes((shards / "model-00001-of-00003.safetensors").read_bytes())
    refused(shards, out, second(shards).name, "both hold", EMBEDDING)


def test_shard_of_another_split(shards: Path, out: Path) -> None:
    """Index and shards of two downloads: a tensor would be taken from the wrong file."""
    first = "model-00001-of-00003.safetensors"
    edit_json(shards / INDEX, lambda i: i["weight_map"].update({EMBEDDING: second(shards).name}))
    refused(shards, out, EMBEDDING, first, second(shards).name)


def test_index_names_more_than_the_shards_hold(shards: Path, out: Path) -> None:
    """A shard that was cut and saved again lacks tensors."""
    edit_json(shards / INDEX, lambda i: i["weight_map"].update(ghost=second(shards).name))
    refused(shards, out, str(shards), "ghost", second(shards).name)


@pytest.mark.parametrize(
    "file",
    [
        *("/etc/passwd", "../other.safetensors", "a/b.safetensors", "..", ".", "", "a\0b"),
        *("x" * 300, None, 5, ["model.safetensors"], {}),
    ],
)
def test_index_points_outside(file: Any, shards: Path, out: Path) -> None:
    """A checkpoint from the net must not make us read other files of the user."""
    edit_json(shards / INDEX, lambda i: i["weight_map"].update({EMBEDDING: file}))
    refused(shards, out, str(shards / INDEX), EMBEDDING, repr(file)[:40], "no file of the folder")


def test_shard_is_a_link_to_elsewhere(shards: Path, out: Path, tmp_path: Path) -> None:
    """A link leads as far outside as a path does."""
    second(shards).rename(tmp_path / "elsewhere.safetensors")
    second(shards).symlink_to(tmp_path / "elsewhere.safetensors")
    refused(shards, out, str(second(shards)), str(tmp_path / "elsewhere.safetensors"))


def test_hub_cache_is_made_of_links(shards: Path, out: Path, tmp_path: Path) -> None:
    """Snapshots of the hub's cache are links to blobs: they must work."""
    cache = tmp_path / "hub" / "models--MILVLG--Imp"
    snapshot = cache / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, path in enumerate(sorted(shards.iterdir())):
        path.rename(cache / "blobs" / str(number))
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", str(number)))
    assert run_export(snapshot, out, name=None).bundle.name == "Imp"


@pytest.mark.parametrize("content", ["[]", "null", '"x"', "{}", '{"weight_map": []}', "{", ""])
def test_broken_index(content: str, shards: Path, out: Path) -> None:
    """Broken JSON must not become a traceback."""
    (shards / INDEX).write_text(content)
    refused(shards, out, str(shards / INDEX), "download it again")


def test_missing_tensor(checkpoint: Path, out: Path) -> None:
    """llama.cpp would refuse the finished file on the phone."""
    edit_weights(checkpoint / WEIGHTS, lambda t: t.pop(QKV))
    refused(checkpoint, out, str(checkpoint), QKV, "lacks")


def test_left_over_tensor(checkpoint: Path, out: Path) -> None:
    """What is left out silently is a part of the model that is missing."""
    edit_weights(checkpoint / WEIGHTS, lambda t: t.update(extra=np.zeros((2, 3), np.float16)))
    refused(checkpoint, out, str(checkpoint / WEIGHTS), "extra [2, 3]", "no rule knows")


def test_wrong_shape(checkpoint: Path, out: Path) -> None:
    """A transposed matrix has the right size and gives garbage."""
    edit_weights(checkpoint / WEIGHTS, lambda t: t.update({QKV: t[QKV].T.copy()}))
    refused(checkpoint, out, str(checkpoint / WEIGHTS), QKV, "[64, 192]", "[192, 64]")


def test_integers_as_weights(checkpoint: Path, out: Path) -> None:
    """A quantized checkpoint is not one that can be converted."""
    edit_weights(checkpoint / WEIGHTS, lambda t: t.update({QKV: t[QKV].astype(np.int8)}))
    refused(checkpoint, out, str(checkpoint / WEIGHTS), QKV, "type I8", "BF16")


@pytest.mark.parametrize("name", [EMBEDDING, QKV, NORM, PATCHES, POSITIONS])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(name: str, value: float, checkpoint: Path, out: Path) -> None:
    """One NaN makes every answer NaN; a run on the phone shows only silence."""

    def spoil(tensors: dict[str, Any]) -> None:
        tensors[name].reshape(-1)[-1] = value

    edit_weights(checkpoint / WEIGHTS, spoil)
    refused(checkpoint, out, str(checkpoint / WEIGHTS), name, "NaN or infinite")


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_values_beyond_f16(bits: int, made: Path, tmp_path: Path, out: Path) -> None:
    """F16 would hold infinity instead, at every width: quantized files are made from F16."""
    checkpoint = copied(made / "f32", tmp_path / "checkpoint")

    def spoil(tensors: dict[str, Any]) -> None:
        tensors[QKV][3, 5] = -70000.0

    edit_weights(checkpoint / WEIGHTS, spoil)
    refused(checkpoint, out, QKV, "70000", "65504", bits=(bits,))


def test_large_values_where_the_file_keeps_f32(made: Path, tmp_path: Path, out: Path) -> None:
    """Norms stay F32 in the file, so what F16 cannot hold is no reason to refuse them."""
    checkpoint = copied(made / "f32", tmp_path / "checkpoint")

    def enlarge(tensors: dict[str, Any]) -> None:
        tensors[NORM][0] = 70000.0

    edit_weights(checkpoint / WEIGHTS, enlarge)
    assert run_export(checkpoint, out, bits=(4,)).written


def test_tower_missing_and_none_given(made: Path, out: Path) -> None:
    """The message must say which tower and which option."""
    message = refused(made / "alone", out, str(made / "alone"), "holds no vision tower")
    assert "--vision-tower" in message


def test_tower_given_twice(made: Path, out: Path) -> None:
    """Which of the two is right, only the user knows."""
    tower = tower_of(made / "alone")
    refused(made / "phi2", out, "its own vision tower", "--vision-tower", tower=tower)


def test_tower_of_another_size(made: Path, tmp_path: Path, out: Path) -> None:
    """The projector would be fed with features of another model."""
    tower = copied(tower_of(made / "alone"), tmp_path / "tower")
    edit_json(tower / "config.json", lambda c: c["vision_config"].update(hidden_size=48))
    refused(made / "alone", out, "mm_hidden_size is 32", "48", tower=tower)


def test_tower_that_is_none(made: Path, out: Path) -> None:
    """The message must name the folder given as the tower, not the checkpoint."""
    tower = made / "qwen2"
    refused(made / "alone", out, str(tower), tower=tower)


def test_no_weights_and_no_folder(checkpoint: Path, out: Path, tmp_path: Path) -> None:
    """A wrong path must not look like a broken program."""
    (checkpoint / WEIGHTS).unlink()
    refused(checkpoint, out, str(checkpoint), "holds no weights")
    refused(tmp_path / "nowhere", out, str(tmp_path / "nowhere"), "is not a folder")
    refused(checkpoint / "config.json", out, "config.json", "is not a folder")
    refused(Path("x" * 5000), out, "is not a folder")


def test_adapter_as_the_model(checkpoint: Path, out: Path) -> None:
    """The training repository's LoRA output looks like a checkpoint."""
    (checkpoint / WEIGHTS).rename(checkpoint / "adapter_model.safetensors")
    (checkpoint / "adapter_config.json").write_text("{}")
    refused(checkpoint, out, str(checkpoint), "LoRA adapter", "merge")
