"""What the three Imp families share."""

from __future__ import annotations

from imp_deploy.bundle import Mode

# Imp-v1 ignores a picture's aspect ratio, v1.5 pads (the paper, footnote 4).
ASPECTS: dict[str, Mode] = {"square": "squash", "pad": "pad"}
# The two that the paper measures.
RESOLUTIONS = (384, 196)
