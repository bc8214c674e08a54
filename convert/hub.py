"""Hub ids: downloads just the files that an export reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.convert.vocab import FILES as TOKENIZER_FILES
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Located:
    """A checkpoint on disk, its separate tower if it has one, and what to call it."""

    folder: Path
    tower: Path | None
    name: str


def locate(model: str, tower: str | None) -> Located:
    """`model`, `tower`: local folders or hub ids. Where the checkpoint only names its tower, the
    tower is taken from the hub too."""
    folder = _folder(model)
    tower_folder = _folder(tower) if tower is not None else _named_tower(folder)
    return Located(folder, tower_folder, model)


def _folder(name: str) -> Path:
    path = Path(name).expanduser()
    if path.exists() or not _HUB_ID.fullmatch(name):
        return path
    return _download(name)


def _named_tower(folder: Path) -> Path | None:
    """The tower that `mm_vision_tower` names, unless the checkpoint holds its own."""
    if not (folder / "config.json").is_file():
        return None
    named = read_json_object(folder / "config.json").get("mm_vision_tower")
    if not isinstance(named, str) or _holds_tower(folder):
        return None
    beside = Path(named).expanduser()
    for path in (beside, folder / named, folder.parent / beside.name):
        if (path / "config.json").is_file():
            return path
    return _download(named) if _HUB_ID.fullmatch(named) else None


def _holds_tower(folder: Path) -> bool:
    from imp_deploy.convert.checkpoint import open_checkpoint

    return any("embeddings.patch_embedding" in name for name in open_checkpoint(folder).tensors)


def _download(hub_id: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:
        files = HfApi().list_repo_files(hub_id)
        return Path(snapshot_download(hub_id, allow_patterns=needed(files)))
    except Exception as error:  # the library's errors share no base class across its versions
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(
            f"{hub_id} is no local folder and could not be downloaded ({reason}); check the name "
            "and the connection, or download it elsewhere and give the folder."
        ) from None


def needed(files: Sequence[str]) -> list[str]:
    """Of a repository's files those that an export reads; safetensors before `.bin`."""
    small = [f for f in files if f == "config.json" or f in TOKENIZER_FILES]
    safetensors = [f for f in files if f.endswith((".safetensors", ".safetensors.index.json"))]
    torch = [f for f in files if re.fullmatch(r"pytorch_model.*\.bin(\.index\.json)?", f)]
    weights = [f for f in (safetensors or torch) if "/" not in f]
    return small + weights
