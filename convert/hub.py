"""Hub ids: downloads just the files that an export reads."""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.convert.vocab import FILES as TOKENIZER_FILES
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

_TIMEOUT_S = 5.0


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
    path = Path(name)
    with contextlib.suppress(RuntimeError):  # `~` of a user who does not exist
        path = path.expanduser()
    if _exists(path) or not _HUB_ID.fullmatch(name):
        return path
    return _download(name, f"{name} is no local folder and", "instead")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than a path can be, or in a folder that is closed to us
        return False


def _named_tower(folder: Path) -> Path | None:
    """The tower that `mm_vision_tower` names, unless the checkpoint holds its own."""
    if not _exists(folder / "config.json"):
        return None
    named = read_json_object(folder / "config.json").get("mm_vision_tower")
    if not isinstance(named, str) or not named or _holds_tower(folder):
        return None
    for path in (Path(named), folder / named, folder.parent / Path(named).name):
        if _exists(path / "config.json") and path.resolve() != folder.resolve():
            return path
    if not _HUB_ID.fullmatch(named):
        return None
    return _download(
        named,
        f"The vision tower {named}, which {folder} names and does not hold,",
        "with --vision-tower",
    )


def _holds_tower(folder: Path) -> bool:
    from imp_deploy.convert.checkpoint import open_checkpoint

    return any("embeddings.patch_embedding" in name for name in open_checkpoint(folder).tensors)


def _download(hub_id: str, what: str, how: str) -> Path:
    """The snapshot in the hub's cache, with the files that an export reads; what is there already
    is not downloaded again, and serves without a connection. `what` and `how` are for the error."""
    from huggingface_hub import HfApi, snapshot_download

    try:
        # One request without the library's retries: a missing connection shows at once.
        found = HfApi().model_info(hub_id, timeout=_TIMEOUT_S).siblings or []
        wanted = needed([file.rfilename for file in found])
        return Path(snapshot_download(hub_id, allow_patterns=[glob.escape(f) for f in wanted]))
    except Exception as error:  # the library's errors share no base class across its versions
        if cached := _cached(hub_id):
            return cached
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(
            f"{what} could not be downloaded from the hub ({reason.rstrip('.')}); check name and "
            f"connection, or download it elsewhere and give its folder {how}."
        ) from None


def _cached(hub_id: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        config = try_to_load_from_cache(hub_id, "config.json")
    except ValueError:  # not a name that the hub could have
        return None
    return Path(config).parent if isinstance(config, str) else None


def needed(files: Sequence[str]) -> list[str]:
    """Of a repository's files those that an export reads; safetensors before `.bin`."""
    small = [f for f in files if f == "config.json" or f in TOKENIZER_FILES]
    safetensors = [f for f in files if re.fullmatch(r"[^/]+\.safetensors(\.index\.json)?", f)]
    torch = [f for f in files if re.fullmatch(r"pytorch_model[^/]*\.bin(\.index\.json)?", f)]
    return small + (safetensors or torch)
