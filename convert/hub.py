"""Hub ids: downloads just the files that an export reads."""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imp_deploy.convert.adapter import TRAINABLES, WEIGHTS, open_adapter
from imp_deploy.convert.checkpoint import ADAPTER_CONFIG, is_adapter, open_checkpoint
from imp_deploy.convert.vocab import FILES as TOKENIZER_FILES
from imp_deploy.errors import BadInput
from imp_deploy.files import read_json_object

_SAFETENSORS = re.compile(r"[^/]+\.safetensors(\.index\.json)?")
_TORCH = re.compile(r"pytorch_model[^/]*\.bin(\.index\.json)?")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Located:
    """A checkpoint on disk, its separate tower if it has one, what to call it, and for a LoRA
    adapter its base."""

    folder: Path
    tower: Path | None
    name: str
    base: Path | None = None


def locate(model: str, tower: str | None, base: str | None = None) -> Located:
    """`model`, `tower`, `base`: local folders or hub ids. Where the checkpoint only names its
    tower, the tower is taken from the hub too. The base of what is no adapter is not downloaded:
    `read_model` refuses it."""
    folder = _folder(model)
    base_folder = None
    if base is not None:
        adapter = _exists(folder) and is_adapter(folder)
        base_folder = _folder(base, "with --base") if adapter else Path(base)
    tower_folder = (
        _folder(tower, "with --vision-tower")
        if tower is not None
        else _named_tower(folder, base_folder)
    )
    return Located(folder, tower_folder, model, base_folder)


def _folder(name: str, how: str = "instead") -> Path:
    path = Path(name)
    with contextlib.suppress(RuntimeError):  # `~` of a user who does not exist
        path = path.expanduser()
    if _exists(path) or not _HUB_ID.fullmatch(name):
        return path
    return _download(name, f"{name} is no local folder and", how)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than a path can be, or in a folder that is closed to us
        return False


def _named_tower(folder: Path, base: Path | None) -> Path | None:
    """The tower that `mm_vision_tower` names, unless the checkpoint (or the adapter, or its base)
    holds one. An adapter's own configuration goes before its base's."""
    places = [f for f in (folder, base) if f is not None and _exists(f / "config.json")]
    if not places:
        return None
    home = places[0]
    named = read_json_object(home / "config.json").get("mm_vision_tower")
    if not isinstance(named, str) or not named or _holds_tower(folder, base):
        return None
    for path in (Path(named), home / named, home.parent / Path(named).name):
        if _exists(path / "config.json") and path.resolve() != home.resolve():
            return path
    if not _HUB_ID.fullmatch(named):
        return None
    return _download(
        named,
        f"The vision tower {named}, which {home} names and does not hold,",
        "with --vision-tower",
    )


def _holds_tower(folder: Path, base: Path | None) -> bool:
    names: list[str] = []
    if base is not None and is_adapter(folder):
        names += open_adapter(folder).whole
        names += open_checkpoint(base).tensors
    else:
        names += open_checkpoint(folder).tensors
    return any("embeddings.patch_embedding" in name for name in names)


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

    for name in ("config.json", ADAPTER_CONFIG):  # PEFT alone writes only the latter
        try:
            found = try_to_load_from_cache(hub_id, name)
        except ValueError:  # not a name that the hub could have
            return None
        if isinstance(found, str):
            return Path(found).parent
    return None


def needed(files: Sequence[str]) -> list[str]:
    """Of a repository's files those that an export reads. Where there are several: a whole model's
    before an adapter's, safetensors before `.bin`, and files of the usual names before others."""
    small = [f for f in files if f == "config.json" or f in TOKENIZER_FILES]
    safetensors = [f for f in files if _SAFETENSORS.fullmatch(f) and f not in WEIGHTS]
    torch = [f for f in files if _TORCH.fullmatch(f)]
    usual = safetensors if any(f.startswith("model") for f in safetensors) else torch
    adapter = [f for f in WEIGHTS if f in files]
    if adapter and not usual:
        return small + [f for f in files if f in (ADAPTER_CONFIG, TRAINABLES)] + adapter[:1]
    return small + (usual or safetensors)
