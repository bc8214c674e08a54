"""What makes two exports the same: settings, weight files, and the form of our output."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from imp_deploy.bundle import Bundle
from imp_deploy.convert.checkpoint import ADAPTER_CONFIG
from imp_deploy.convert.layout import OutputFile
from imp_deploy.convert.model import Model
from imp_deploy.convert.vocab import FILES as TOKENIZER_FILES
from imp_deploy.errors import BadInput
from imp_deploy.files import sha256_of

# Raised whenever the same checkpoint would give other files than before, unless they differ in
# size, which is seen file by file: then the others of an old bundle stay what they are.
FORMAT = 1


def settings_hash(model: Model) -> str:
    """Over everything that shapes the output besides the weights."""
    digest = hashlib.sha256(f"format {FORMAT}\n".encode())
    for folder in model.folders:
        for name in ("config.json", ADAPTER_CONFIG, *TOKENIZER_FILES):
            path = folder / name
            if path.is_file():
                digest.update(f"{name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def require_same_form(out: Path, bundle: Bundle, planned: Sequence[OutputFile]) -> None:
    """That what the bundle in `out` holds of the `planned` files is what we would write. Towers of
    8 and 4 bits once kept matrices at F16 that zeros now widen to whole blocks."""
    sizes = {file.about.path: file.size for file in planned}
    for file in bundle.files:
        size = sizes.get(file.path, file.bytes)
        # A language model's header may hold the name of its importance matrix: see recipes.py.
        if file.role == "vision" and size != file.bytes:
            raise BadInput(
                f"{out / file.path} is of another version of imp-deploy ({file.bytes} bytes; this "
                f"one makes {size} of it); remove this file and run the same command again, or "
                "overwrite the whole bundle with --force."
            )


def stamp(model: Model) -> str:
    """Over the weight files' names, sizes, times and places on the disk."""
    lines = []
    for path in model.weight_files:
        state = path.stat()
        # The last two tell apart what an archive gave the same name, size and time.
        times = f"{state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"
        lines.append(f"{path.name} {state.st_size} {times}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()
