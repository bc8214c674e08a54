"""The manifest comes from outside: a bundle is copied, edited, downloaded, cut off."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imp_deploy import bundle as bundles
from imp_deploy.bundle import BundleFile
from imp_deploy.errors import BadInput
from tests.small import one_sentence

HASH = "0" * 64
GOOD: dict[str, Any] = {
    "schema": 1,
    "name": "Imp-3B",
    "source": {
        "model": "MILVLG/imp-v1-3b",
        "family": "imp-phi2",
        "weights_sha256": HASH,
        "settings_sha256": HASH,
        "stamp": HASH,
    },
    "llama_cpp": {"package": "0.3.36", "commit": "0c1e57098bba"},
    "prompt": {"template": "USER: <image>\n{question} ASSISTANT:", "stop": ["</s>"]},
    "preprocess": {"mode": "pad", "mean": [0.5] * 3, "std": [0.5, 1, 2], "stock_exact": False},
    "files": [
        {
            "path": f"Imp-3B-{kind}.gguf",
            "role": "llm",
            "bits": bits,
            "type": kind,
            "bytes": 3,
            "sha256": HASH,
        }
        for bits, kind in ((16, "F16"), (4, "Q4_0"))
    ]
    + [
        {
            "path": f"mmproj-Imp-3B-{side}-F16.gguf",
            "role": "vision",
            "bits": 16,
            "type": "F16",
            "bytes": 3,
            "sha256": HASH,
            "resolution": side,
            "resized_from": None if side == 384 else 384,
            "visual_tokens": (side // 14) ** 2,
        }
        for side in (384, 196)
    ],
}
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2.5, 10**300, float("inf"), float("nan"), "", "x", "a\0b"),
    *("../x.gguf", "/etc/passwd", "x" * 5000, [], [None], [1], ["a"], [[]], {}, {"a": 1}),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in GOOD["files"]:
        (tmp_path / file["path"]).write_bytes(b"abc")
    write(tmp_path, GOOD)
    return tmp_path


def write(folder: Path, manifest: Any) -> None:
    (folder / "bundle.json").write_text(json.dumps(manifest), "utf-8")


def refused(folder: Path, *parts: str) -> str:
    with pytest.raises(BadInput) as caught:
        bundles.load(folder)
    message = str(caught.value)
    assert one_sentence(message), message
    assert [part for part in (str(folder), *parts) if part not in message] == [], message
    return message


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document, its own first."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


PLACES = list(places(GOOD))


def replaced(path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    document = copy.deepcopy(GOOD)
    parent: Any = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return document


def test_good_manifest(folder: Path) -> None:
    """The others prove nothing if this one is refused."""
    bundle = bundles.load(folder)
    assert [file.path for file in bundle.files] == [file["path"] for file in GOOD["files"]]
    written = bundles.to_json(bundle)
    assert bundles.parse(json.loads(json.dumps(written)), "again") == bundle


@pytest.mark.parametrize(
    "path", list(places(GOOD)), ids=lambda path: ".".join(map(str, path)) or "all"
)
def test_any_value_anywhere(path: tuple[Any, ...], folder: Path) -> None:
    """Whatever stands in the file, it is used as what it is, or refused: never a traceback."""
    for value in ODD:
        write(folder, replaced(path, value))
        try:
            bundle = bundles.load(folder)
        except BadInput as error:
            message = str(error)
        else:
            bundles.choose(bundle)
            assert same_types(bundles.to_json(bundle), GOOD), (path, value)
            continue
        assert one_sentence(message), message


def same_types(value: Any, like: Any) -> bool:
    """Whether two documents have the same shape; lists are compared by their first entries."""
    if isinstance(like, dict):
        return isinstance(value, dict) and all(same_types(value[key], like[key]) for key in like)
    if isinstance(like, list):
        return all(same_types(entry, like[0]) for entry in value)
    number = isinstance(like, int | float) and not isinstance(like, bool)
    if number or like is None:
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return type(value) is type(like)


@pytest.mark.parametrize("path", [p for p in PLACES if p and isinstance(p[-1], str)])
def test_missing_and_unknown_keys(path: tuple[Any, ...], folder: Path) -> None:
    """A manifest of a later version means something that we do not know."""
    manifest = copy.deepcopy(GOOD)
    parent: Any = manifest
    for key in path[:-1]:
        parent = parent[key]
    value = parent.pop(path[-1])
    if path[-1] != "resized_from":
        write(folder, manifest)
        refused(folder)
    parent[path[-1]] = value
    parent["surprise"] = 1
    write(folder, manifest)
    refused(folder, "unknown keys ['surprise']", "--force")


@pytest.mark.parametrize("schema", [0, 2, 1.0, True, "1", None, [1]])
def test_another_schema(schema: Any, folder: Path) -> None:
    """Old and new programs meet on one disk."""
    write(folder, {**GOOD, "schema": schema})
    refused(folder, f"schema {schema!r}", "export the bundle again")


@pytest.mark.parametrize(
    "name",
    [
        *("../x.gguf", "/etc/x.gguf", "a/x.gguf", "..", ".", "", "a\0.gguf", "a\\x.gguf"),
        *("bundle.json", "x" * 300 + ".gguf"),
    ],
)
def test_path_that_leaves_the_folder(name: str, folder: Path) -> None:
    """`export --force` deletes what an old manifest lists: it must not reach other folders."""
    write(folder, replaced(("files", 0, "path"), name))
    refused(folder, repr(name)[:40], "no GGUF file in its folder")


def test_one_file_twice(folder: Path) -> None:
    """Two entries of one file cannot both be right."""
    write(folder, replaced(("files", 1), GOOD["files"][0]))
    refused(folder, GOOD["files"][0]["path"], "twice")


@pytest.mark.parametrize("size", [2, 4, 3 * 10**9])
def test_wrong_byte_count(size: int, folder: Path) -> None:
    """A copy to the phone that broke off."""
    write(folder, replaced(("files", 0, "bytes"), size))
    refused(folder, GOOD["files"][0]["path"], "3 bytes", str(size))


def test_missing_file(folder: Path) -> None:
    """llama.cpp's own message would not say what to do."""
    (folder / GOOD["files"][1]["path"]).unlink()
    refused(folder, GOOD["files"][1]["path"], "is missing", "export the bundle again")


def test_no_bundle(tmp_path: Path) -> None:
    """BUNDLE and MODEL are easily mixed up."""
    refused(tmp_path, "holds no bundle.json")
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="is not a folder"):
        bundles.load(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_broken_json(content: bytes, folder: Path) -> None:
    """A full disk leaves half a file."""
    (folder / "bundle.json").write_bytes(content)
    refused(folder, "bundle.json", "export the bundle again with --force")


def test_damaged_bytes(folder: Path) -> None:
    """Random damage is refused or harmless, and never a traceback."""
    good, chance = json.dumps(GOOD).encode(), random.Random(0)
    for _ in range(500):
        damaged = bytearray(good)
        for _ in range(chance.choice((1, 2, 9))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (folder / "bundle.json").write_bytes(damaged)
        try:
            bundles.load(folder)
        except BadInput as error:
            message = str(error)
        else:
            continue
        assert one_sentence(message), message


def chosen(wanted: dict[str, int]) -> tuple[BundleFile, BundleFile]:
    variant = bundles.choose(bundles.parse(GOOD, "bundle.json"), **wanted)
    return variant.llm, variant.vision


def test_default_variant() -> None:
    """Without options it is the paper's: 4 bits at 196 pixels."""
    llm, vision = chosen({})
    assert (llm.bits, vision.resolution) == (4, 196)
    llm, vision = chosen({"bits": 16, "resolution": 384})
    assert (llm.bits, vision.resolution) == (16, 384)


@pytest.mark.parametrize(
    ("towers", "expected"),
    [
        ((16, 8), {16: 16, 8: 8, 4: 8}),
        ((16, 8, 4), {16: 16, 8: 8, 4: 8}),
        ((16,), {16: 16, 8: 16, 4: 16}),
        ((8,), {16: 8, 8: 8, 4: 8}),
        ((16, 4), {16: 16, 8: 4, 4: 4}),
    ],
)
def test_the_tower_that_goes_with_a_language_model(
    towers: tuple[int, ...], expected: dict[int, int]
) -> None:
    """A bundle of an older version has nothing but 16-bit towers, and goes on to work; in a new
    one nobody wants to name two widths for every variant."""
    llm, vision = GOOD["files"][0], GOOD["files"][-1]
    files = [{**llm, "bits": b, "path": f"{b}.gguf"} for b in (16, 8, 4)]
    files += [{**vision, "bits": b, "path": f"v{b}.gguf"} for b in towers]
    bundle = bundles.parse({**GOOD, "files": files}, "bundle.json")
    found = {b: bundles.choose(bundle, bits=b).vision.bits for b in expected}
    assert found == expected
    for b in towers:
        assert bundles.choose(bundle, bits=4, vision_bits=b).vision.bits == b


@pytest.mark.parametrize("wanted", [{"bits": 8}, {"resolution": 336}, {"vision_bits": 4}], ids=repr)
def test_variant_that_is_not_there(wanted: dict[str, int]) -> None:
    """Another width than asked for would be measured as the wrong one."""
    with pytest.raises(BadInput) as caught:
        chosen(wanted)
    assert one_sentence(str(caught.value))
    assert "only [" in str(caught.value)
