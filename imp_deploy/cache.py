"""Where this program keeps what it can make or find again: builds, sources, the virtual phone, the
settings that `tune` chose."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "imp-deploy"
