"""A bundle: the folder that `export` writes, and its manifest `bundle.json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object, write_json_atomic

MANIFEST = "bundle.json"
SCHEMA = 1
DEFAULT_BITS = 4
DEFAULT_RESOLUTION = 196

Role = Literal["llm", "vision"]
Mode = Literal["squash", "pad"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the bundle was made from.

    `weights_sha256`: over every tensor of the checkpoint, independent of shards and file names.
    `settings_sha256`: over the configuration and tokenizer files.
    `stamp`: over names, sizes and times of the input files; equal stamps need no second look.
    """

    model: str
    family: str
    weights_sha256: str
    settings_sha256: str
    stamp: str


@dataclass(frozen=True, kw_only=True)
class LlamaCpp:
    package: str
    commit: str


@dataclass(frozen=True, kw_only=True)
class PromptSpec:
    """`template` holds `<image>` and `{question}` once each; generation ends at any of `stop`."""

    template: str
    stop: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """`stock_exact`: whether stock llama.cpp prepares an image of any shape the same way."""

    mode: Mode
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stock_exact: bool


@dataclass(frozen=True, kw_only=True)
class BundleFile:
    """One GGUF file. The last three are set for `role` "vision" only; `resized_from` is the
    checkpoint's own resolution where the position table was interpolated."""

    path: str
    role: Role
    bits: int
    type: str
    bytes: int
    sha256: str
    resolution: int | None = None
    resized_from: int | None = None
    visual_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class Bundle:
    name: str
    source: Source
    llama_cpp: LlamaCpp
    prompt: PromptSpec
    preprocess: Preprocess
    files: tuple[BundleFile, ...]
    schema: int = SCHEMA


@dataclass(frozen=True, kw_only=True)
class Variant:
    """An LLM file with a vision file."""

    llm: BundleFile
    vision: BundleFile


def load(folder: Path) -> Bundle:
    """Reads and checks `bundle.json` and that every file is there in its full size."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder; give the folder that `export` wrote.")
    if not path.is_file():
        raise BadInput(f"{folder} holds no {MANIFEST}; give the folder that `export` wrote.")
    bundle = parse(read_json_object(path), str(path))
    for file in bundle.files:
        place = folder / file.path
        if not place.is_file():
            raise BadInput(f"{place} is missing; export the bundle again.")
        if place.stat().st_size != file.bytes:
            raise BadInput(
                f"{place} has {place.stat().st_size} bytes and {MANIFEST} says {file.bytes}; "
                "export the bundle again with --force."
            )
    return bundle


def save(folder: Path, bundle: Bundle) -> None:
    write_json_atomic(folder / MANIFEST, to_json(bundle))


def to_json(bundle: Bundle) -> dict[str, Any]:
    value = dataclasses.asdict(bundle)
    value["files"] = [_file_json(file) for file in bundle.files]
    return {"schema": value.pop("schema"), **value}


def _file_json(file: BundleFile) -> dict[str, Any]:
    value = dataclasses.asdict(file)
    if file.role == "llm":
        for key in ("resolution", "resized_from", "visual_tokens"):
            del value[key]
    return value


def parse(value: dict[str, Any], where: str) -> Bundle:
    """The manifest as values; `where` names it in errors. Unknown and missing keys are errors."""
    if value.get("schema") != SCHEMA:
        raise BadInput(
            f"{where} has schema {value.get('schema')!r} and this version reads {SCHEMA}; export "
            "the bundle again with this version."
        )
    files = value.get("files")
    if not isinstance(files, list) or not files:
        raise BadInput(f"{where} lists no files; export the bundle again.")
    bundle = _record(Bundle, {**value, "files": ()}, where)
    bundle = dataclasses.replace(
        bundle,
        source=_record(Source, value["source"], f"{where}: source"),
        llama_cpp=_record(LlamaCpp, value["llama_cpp"], f"{where}: llama_cpp"),
        prompt=_record(PromptSpec, value["prompt"], f"{where}: prompt"),
        preprocess=_record(Preprocess, value["preprocess"], f"{where}: preprocess"),
        files=tuple(_record(BundleFile, f, f"{where}: files[{i}]") for i, f in enumerate(files)),
    )
    _check(bundle, where)
    return bundle


def _record(kind: Callable[..., T], value: Any, where: str) -> T:
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if not isinstance(value, dict):
        raise BadInput(f"{where} is not an object; export the bundle again.")
    if unknown := sorted(set(value) - set(fields)):
        raise BadInput(f"{where} has unknown keys {unknown}; export the bundle again.")
    required = {n for n, f in fields.items() if f.default is dataclasses.MISSING}
    if missing := sorted(required - set(value)):
        raise BadInput(f"{where} lacks {missing}; export the bundle again.")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in value.items()})


def _check(bundle: Bundle, where: str) -> None:
    if bundle.preprocess.mode not in ("squash", "pad"):
        raise BadInput(f"{where}: preprocess mode {bundle.preprocess.mode!r} is unknown.")
    for file in bundle.files:
        place = PurePosixPath(str(file.path))
        if place.is_absolute() or ".." in place.parts or len(place.parts) != 1:
            raise BadInput(f"{where} points outside its folder with {file.path!r}.")
        numbers = [file.bits, file.bytes]
        if file.role == "vision":
            numbers += [file.resolution or 0, file.visual_tokens or 0]
        elif file.role != "llm":
            raise BadInput(f"{where}: {file.path} has the unknown role {file.role!r}.")
        if any(type(n) is not int or n <= 0 for n in numbers):
            raise BadInput(f"{where}: the numbers of {file.path} are not positive integers.")


def choose(
    bundle: Bundle,
    *,
    bits: int | None = None,
    resolution: int | None = None,
    vision_bits: int | None = None,
) -> Variant:
    """The variant asked for; what is not asked for is the paper's default (4 bits, 196 pixels)
    or, where the bundle has no such file, the nearest that it has."""
    llm = _pick(
        [f for f in bundle.files if f.role == "llm"], "bits", bits, DEFAULT_BITS, "language model"
    )
    vision = [f for f in bundle.files if f.role == "vision"]
    size = _pick(vision, "resolution", resolution, DEFAULT_RESOLUTION, "vision tower").resolution
    vision = [f for f in vision if f.resolution == size]
    return Variant(llm=llm, vision=_pick(vision, "bits", vision_bits, 16, "vision tower"))


def _pick(
    files: list[BundleFile], key: str, wanted: int | None, default: int, what: str
) -> BundleFile:
    if not files:
        raise BadInput(f"The bundle holds no {what}; export it again.")
    found = {getattr(file, key): file for file in files}
    if wanted is not None and wanted not in found:
        raise BadInput(
            f"The bundle holds no {what} with {key} {wanted}, only {sorted(found)}; export it "
            f"with that {key}, or ask for one of these."
        )
    if wanted is None:
        wanted = min(found, key=lambda value: (abs(value - default), value))
    return found[wanted]
