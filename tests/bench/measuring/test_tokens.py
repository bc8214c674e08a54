"""The phone's program gives the answers of the host's."""

from __future__ import annotations

from pathlib import Path

import pytest

from imp_deploy import ask as on_host
from imp_deploy import bundle as bundles
from imp_deploy.bench import remote_ask
from imp_deploy.bench.discover import connected
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings
from imp_deploy.bench.subject import prepare
from imp_deploy.bench.virtual.power import Running
from imp_deploy.demo import scenes
from imp_deploy.progress import Unseen
from tests.small import SIDE, run_export

QUESTIONS = ("What colour is the circle?", "What shape is red?", "How many shapes are there?")


@pytest.fixture(scope="module")
def demo_at_56(demo_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with few visual tokens, which emulation can bear; its answers still come from
    trained weights, so that no two tokens are nearly as likely by chance."""
    folder = tmp_path_factory.mktemp("tokens") / "bundle"
    run_export(demo_checkpoint, folder, bits=(16,), resolutions=(SIDE,))
    return folder


def test_the_same_greedy_tokens_as_on_the_host_at_16_bits(
    demo_at_56: Path, phone: Running, tmp_path: Path
) -> None:
    bundle = bundles.load(demo_at_56)
    variant = bundles.choose(bundle)
    said: list[str] = []
    with connected(f"tcp:{phone.serial}") as device:
        for number, question in enumerate(QUESTIONS):
            picture = tmp_path / f"{number}.png"
            scenes.draw(scenes.scene_at("test", number)).save(picture)
            settings = Settings(bits=(16,), resolutions=(SIDE,), image=picture, prompt=question)
            there, record = remote_ask.ask(
                Session(device, said.append),
                prepare(demo_at_56, settings),
                settings,
                max_tokens=8,
                progress=Unseen(),
            )
            here = on_host.ask(
                demo_at_56,
                bundle,
                variant,
                image=picture,
                question=question,
                max_tokens=8,
                threads=1,
            )
            assert record.emulated
            assert here.token_ids
            assert (there.token_ids, there.text, there.tokens) == (
                here.token_ids,
                here.text,
                here.tokens,
            )
