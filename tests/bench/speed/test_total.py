"""T_total is only compared where both sides were asked the same."""

from __future__ import annotations

import pytest

from imp_deploy.bench.speed.total import STOCK, notes, ways
from imp_deploy.errors import DeviceError


def test_another_prompt_than_ours_is_refused() -> None:
    """A template that llama.cpp adds to the prompt would make stock slower than it is."""
    assert "2 threads, our runner 1" in " ".join(notes(41 + 196, 2, 1))
    with pytest.raises(DeviceError, match="60 tokens of prompt"):
        notes(60, 2, 2)


def test_only_the_paper_protocol_has_a_target() -> None:
    """A row that leaves work out must not be what the claim rests on."""
    aimed = [way for way in ways() if way.target is not None]
    assert [(way.name, way.settings) for way in aimed] == [("imp-deploy", ())]
    assert STOCK not in [way.name for way in ways()]
