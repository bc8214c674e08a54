"""Files that this program may trust later: a hash over their key and their content comes first."""

from __future__ import annotations

import hashlib
from pathlib import Path

from imp_deploy.files import write_atomic

_MAGIC = b"imp-quality 1 "


def write(path: Path, key: str, content: bytes) -> None:
    """`key`: of all that the content depends on."""
    write_atomic(path, _seal(key, content) + content)


def read(path: Path, key: str) -> bytes | None:
    """The content; None for a file that is not there, is damaged, or has another key."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    end = whole.find(b"\n") + 1
    content = whole[end:]
    return content if whole[:end] == _seal(key, content) else None


def _seal(key: str, content: bytes) -> bytes:
    digest = hashlib.sha256(key.encode() + b"\n")
    digest.update(content)
    return _MAGIC + digest.hexdigest().encode() + b"\n"
