"""`imp-deploy export --list`: what a user is told can be exported, and was verified."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from imp_deploy.cli import export as command
from imp_deploy.cli.main import app
from imp_deploy.convert.families import FAMILIES, family_of
from imp_deploy.convert.supported import Supported, listing
from tests.checkpoints import make_checkpoint
from tests.convert import test_lora as lora
from tests.convert import test_parity as parity
from tests.small import run_export

NAMINGS = {
    "hub": "hub naming",
    "train": "training naming",
    "hf": "the hub's naming",
    "hf4": "transformers 4.52's naming",
    "hf5": "transformers 5's naming",
    "hf5-saved": "transformers 5's files",
}
TOWERS = {"used": "tower inside", "all": "whole tower inside", "separate": "separate tower"}
FAMILY = {
    **{kind: f"imp-{kind}" for kind in ("phi2", "qwen2", "phi3")},
    **{"mobilevlm": "mobilevlm", "mobilevlm2": "mobilevlm", "llava": "llava"},
}
PROJECTOR = {"mobilevlm": {"ldpnet"}, "mobilevlm2": {"ldpnetv2"}}


def properties(arguments: dict[str, Any]) -> tuple[str, set[str]]:
    """The family of a checkpoint that `make_checkpoint` is to make, and what it has."""
    family, naming = arguments["family"], arguments["naming"]
    hf, imp = naming.startswith("hf"), FAMILY[family].startswith("imp")
    sizes = arguments.get("sizes")
    return FAMILY[family] + ("-hf" if hf else ""), {
        NAMINGS[naming],
        TOWERS[arguments.get("tower") or ("all" if hf else "used")],
        {"square": "squash", "pad": "pad"}[arguments.get("aspect", "square" if imp else "pad")],
        {"safetensors": "safetensors", "bin": ".bin"}[arguments.get("weights", "safetensors")],
        arguments.get("dtype", "f16").upper(),
        *(("shards",) if arguments.get("shards", 1) > 1 else ()),
        *(("grouped queries",) if sizes and sizes.kv_heads else ()),
        *(("old buffers",) if arguments.get("old_buffers") else ()),
        *(("keys of another library",) if arguments.get("stray") else ()),
        *PROJECTOR.get(family, ()),
    }


def in_the_tests() -> dict[str, set[str]]:
    """What the parity tests, and those of LoRA, have of each family."""
    found = {FAMILY[family]: {"LoRA adapter"} for family in lora.PLAIN}
    for layout in parity.LAYOUTS.values():
        family, has = properties(layout.arguments)
        found.setdefault(family, set()).update(has)
    return found


@pytest.mark.parametrize("family", listing().families, ids=lambda family: family.family)
def test_nothing_is_called_verified_that_no_test_verifies(family: Supported) -> None:
    """Who reads the list relies on it instead of verifying a checkpoint that costs an hour."""
    assert family.verified
    assert set(family.verified) - in_the_tests()[family.family] == set()


def test_every_family_is_listed() -> None:
    """A model that the list leaves out is looked for elsewhere."""
    found = {family.family: family for family in listing().families}
    assert list(found) == [family.name for family in FAMILIES]
    assert found["mobilevlm"].hub_ids[0] == "mtgv/MobileVLM-1.7B"
    ids = [hub_id for family in found.values() for hub_id in family.hub_ids]
    assert len(ids) == len(set(ids)) == 14
    for family in FAMILIES:
        for kind in family.architectures:
            config = {"model_type": family.model_types[0], "architectures": [kind]}
            assert family_of(config, "config.json") is family


@pytest.mark.parametrize(
    ("kind", "naming", "projector"),
    [
        ("phi2", "hub", "mlp2x_gelu"),
        ("llava", "hf", "mlp2x_gelu"),
        ("mobilevlm", "train", "ldpnet"),
        ("mobilevlm2", "train", "ldpnetv2"),
    ],
)
def test_the_tokens_are_those_of_an_export(
    kind: str, naming: str, projector: str, tmp_path: Path
) -> None:
    """Who plans a phone's memory and latency by the list must not be off by a factor of four."""
    arguments: dict[str, Any] = {"family": kind, "naming": naming}
    checkpoint = make_checkpoint(tmp_path / "checkpoint", **arguments)
    files = run_export(checkpoint, tmp_path / "out", bits=(4,)).bundle.files
    exported = [(f.resolution, f.visual_tokens) for f in files if f.role == "vision"]
    family, _ = properties(arguments)
    shown = next(f for f in listing().families if f.family == family)
    described = next(p for p in shown.projectors if p.name == projector)
    assert [(r.pixels, r.visual_tokens) for r in described.resolutions] == exported


def test_the_list_for_scripts() -> None:
    """One document on standard output; MODEL and OUT are not asked for."""
    done = CliRunner().invoke(app, ["export", "--list", "--json"], catch_exceptions=False)
    assert (done.exit_code, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert set(document) == {"families", "method"}
    assert document["method"]["worst_cosine"] == 0.9999
    assert document["method"]["published_weights"] is False
    by_name = {family["family"]: family for family in document["families"]}
    assert by_name["imp-phi2"]["pictures"] == {"square": "squash", "pad": "pad"}
    assert by_name["imp-phi2"]["adapter_bases"] == ["phi", "phi-msft"]
    assert by_name["mobilevlm"]["tower_id"] == "openai/clip-vit-large-patch14-336"
    assert by_name["mobilevlm"]["projectors"] == [
        {
            "name": name,
            "resolutions": [{"pixels": 336, "visual_tokens": 144}],
            "other_resolutions": False,
        }
        for name in ("ldpnet", "ldpnetv2")
    ]


def test_the_list_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the narrowest terminal in use every name is whole: a hub id is there to be copied."""
    printed = io.StringIO()
    narrow = Console(file=printed, width=80, markup=False, emoji=False)
    monkeypatch.setattr(command, "console", narrow)
    done = CliRunner().invoke(app, ["export", "--list"], catch_exceptions=False)
    assert done.exit_code == 0
    text = printed.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for family in listing().families:
        assert f"│ {family.family} " in text
        assert [i for i in family.hub_ids if i not in text] == []
        assert [p.name for p in family.projectors if p.name not in text] == []
    assert "144 @336" in text
    assert "not the published weights" in text
    assert "--base" in text


@pytest.mark.parametrize("arguments", [["a"], ["a", "b"]], ids=len)
def test_the_list_takes_no_model(arguments: list[str]) -> None:
    """Who asks for the list and an export at once would wait for the export in vain."""
    done = CliRunner().invoke(app, ["export", "--list", *arguments], catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--list" in done.stderr
