"""A bundle: the folder that `export` writes, and its manifest `bundle.json`."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imp_deploy import record
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object, sha256_of, write_json_atomic

MANIFEST = "bundle.json"
SCHEMA = 1
DEFAULT_BITS = 4
DEFAULT_RESOLUTION = 196
# Bits of the vision tower that goes with a language model of so many; docs/accuracy.md has the
# figures that this rests on.
_VISION_BITS = {16: 16, 8: 8, 4: 8}

Role = Literal["llm", "vision"]
Mode = Literal["squash", "pad"]

_CURE = "export the bundle again with --force"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the bundle was made from.

    `weights_sha256`: over every tensor of the checkpoint, independent of shards and file names.
    `settings_sha256`: over the configuration and tokenizer files.
    `stamp`: over names, sizes, times and places of the input files; equal stamps need no second
    look.
    `base`: of a LoRA adapter, the model that it was merged into.
    """

    model: str
    family: str
    weights_sha256: str
    settings_sha256: str
    stamp: str
    base: str | None = None


@dataclass(frozen=True, kw_only=True)
class LlamaCpp:
    package: str
    commit: str


@dataclass(frozen=True, kw_only=True)
class PromptSpec:
    """`template` holds `<image>` and `{question}` once each; generation ends at any of `stop`.
    `normalize`: the Unicode form that the tokenizer brings text into, which llama.cpp does not."""

    template: str
    stop: tuple[str, ...]
    normalize: Literal["NFC"] | None = None


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """`stock_exact`: whether stock llama.cpp prepares an image of any shape the same way."""

    mode: Mode
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stock_exact: bool


@dataclass(frozen=True, kw_only=True)
class BundleFile:
    """One GGUF file. `resolution` to `visual_tokens` are set for `role` "vision" only;
    `resized_from` is the checkpoint's own resolution where the position table was interpolated. The
    last two are there where they were used: the hash of the importance matrix, and the types that
    single tensors were given (`PATTERN=TYPE`)."""

    path: str
    role: Role
    bits: int
    type: str
    bytes: int
    sha256: str
    resolution: int | None = None
    resized_from: int | None = None
    visual_tokens: int | None = None
    imatrix_sha256: str | None = None
    overrides: tuple[str, ...] = ()


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
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder; give the folder that `export` wrote.")
    if not (folder / MANIFEST).is_file():
        raise BadInput(f"{folder} holds no {MANIFEST}; give the folder that `export` wrote.")
    bundle = read(folder / MANIFEST)
    for file in bundle.files:
        place = folder / file.path
        if not place.is_file():
            raise BadInput(f"{place} is missing; export the bundle again.")
        if place.stat().st_size != file.bytes:
            raise BadInput(
                f"{place} has {place.stat().st_size} bytes and {MANIFEST} says {file.bytes}; "
                "export the bundle again."
            )
    return bundle


def read(path: Path) -> Bundle:
    """The manifest `path` alone, whatever became of the files."""
    return parse(read_json_object(path, _CURE), str(path))


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
    for key in ("imatrix_sha256", "overrides"):
        if not value[key]:
            del value[key]
    return value


def parse(value: dict[str, Any], where: str) -> Bundle:
    """The manifest as values; `where` names it in errors. Unknown and missing keys and values of
    another type are errors."""
    record.require_schema(value, SCHEMA, where, _CURE)
    files = value.get("files")
    if not isinstance(files, list) or not files:
        raise BadInput(f"{where} lists no files; {_CURE}.")
    bundle = record.parse(Bundle, value, where, _CURE)
    _check(bundle, where)
    return bundle


def _check(bundle: Bundle, where: str) -> None:
    paths = [file.path for file in bundle.files]
    for file in bundle.files:
        _check_file(file, where)
        if paths.count(file.path) > 1:
            raise BadInput(f"{where} lists {file.path} twice; {_CURE}.")
    means = (bundle.preprocess.mean, bundle.preprocess.std)
    if any(len(values) != 3 for values in means) or min(bundle.preprocess.std) <= 0:
        raise BadInput(f"{where}: mean and std are not three numbers each; {_CURE}.")
    template = bundle.prompt.template
    if any(template.count(part) != 1 for part in ("<image>", "{question}")):
        raise BadInput(
            f"{where}: the template does not hold <image> and {{question}} once each; {_CURE}."
        )
    if "" in bundle.prompt.stop:
        raise BadInput(f"{where}: an empty stop string would end every answer at once; {_CURE}.")


def _check_file(file: BundleFile, where: str) -> None:
    if _leads_away(file.path):
        raise BadInput(f"{where} names {file.path!r}, no GGUF file in its folder; {_CURE}.")
    numbers: list[int | None] = [file.bits, file.bytes]
    if file.role == "vision":
        numbers += [file.resolution, file.visual_tokens]
    if file.resized_from is not None:
        numbers.append(file.resized_from)
    if any(n is None or not 0 < n < record.LARGEST for n in numbers):
        raise BadInput(f"{where}: the numbers of {file.path} are not positive; {_CURE}.")
    for digest in (file.sha256, file.imatrix_sha256):
        if digest is not None and not re.fullmatch("[0-9a-f]{64}", digest):
            raise BadInput(f"{where}: the sha256 of {file.path} is no hash; {_CURE}.")


def _leads_away(path: str) -> bool:
    """Whether it is anything but the plain name of a GGUF file."""
    odd = any(c in path for c in "/\\\0") or not path.endswith(".gguf")
    return odd or len(os.fsencode(path)) > 255


def require_unchanged(folder: Path, variants: Iterable[Variant]) -> None:
    """That the files of `variants` are as they were exported: results say by their hashes what they
    are of."""
    used = {file.path: file for v in variants for file in (v.llm, v.vision)}
    for file in used.values():
        if sha256_of(folder / file.path) != file.sha256:
            raise BadInput(
                f"{folder / file.path} was changed after it was exported (its SHA-256 is another); "
                "export the bundle again with --force."
            )


def default_vision_bits(bits: int) -> int:
    """Of the tower that goes with a language model of `bits`, unless another is asked for."""
    return _VISION_BITS.get(bits, 16)


def choose(
    bundle: Bundle,
    *,
    bits: int | None = None,
    resolution: int | None = None,
    vision_bits: int | None = None,
) -> Variant:
    """The variant asked for; what is not asked for is the paper's default (4 bits, 196 pixels) with
    the tower that goes with these bits (16 with 16, 8 with 8 and 4), or, where the bundle has no
    such file, the nearest that it has."""
    llm = _pick(
        [f for f in bundle.files if f.role == "llm"], "bits", bits, DEFAULT_BITS, "language model"
    )
    vision = [f for f in bundle.files if f.role == "vision"]
    size = _pick(vision, "resolution", resolution, DEFAULT_RESOLUTION, "vision tower").resolution
    vision = [f for f in vision if f.resolution == size]
    usual = default_vision_bits(llm.bits)
    return Variant(llm=llm, vision=_pick(vision, "bits", vision_bits, usual, "vision tower"))


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
