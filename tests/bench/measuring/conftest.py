"""A tiny bundle, the real ARM runner, and a virtual phone to measure it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from imp_deploy.bench import follow
from imp_deploy.bench.carry_out import Shown
from imp_deploy.bench.discover import connected
from imp_deploy.bench.measure import Measured, measure
from imp_deploy.bench.session import Session
from imp_deploy.bench.settings import Settings
from imp_deploy.bench.subject import prepare
from imp_deploy.bench.virtual import settings as virtual
from imp_deploy.bench.virtual import tools
from imp_deploy.bench.virtual.power import Running, powered
from imp_deploy.build.phone import build_phones
from imp_deploy.cache import cache_folder
from imp_deploy.errors import DeviceError
from imp_deploy.progress import Unseen
from imp_deploy.results import Result
from tests.small import SIDE, run_export, small_checkpoint

# As little work as a repetition can be: it runs under emulation.
SETTINGS = Settings(
    resolutions=(SIDE,), generated_tokens=3, warmups=0, repetitions=3, cooldown=0.0, timeout=60.0
)
ONE_VARIANT = replace(SETTINGS, bits=(4,), repetitions=5)


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 and 8 bits at 56 pixels; random weights."""
    folder = tmp_path_factory.mktemp("measuring")
    checkpoint = small_checkpoint(folder / "checkpoint")
    run_export(checkpoint, folder / "bundle", bits=(8, 4), resolutions=(SIDE,))
    return folder / "bundle"


@pytest.fixture(scope="session", autouse=True)
def arm() -> None:
    """The runners for phones are built, and the virtual phone can be switched on."""
    try:
        tools.find()
    except DeviceError as error:
        pytest.skip(str(error))
    build_phones(progress=Unseen())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions of the tiny model take a second."""
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of its own; the builds stay where they are, they take minutes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_folder().parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ADB_VENDOR_KEYS", raising=False)


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Running]:
    with powered(virtual.Settings(folder=tmp_path / "phone", disk_bytes=1 << 30)) as running:
        yield running


@dataclass
class Bench:
    """Measures as `bench` does, and keeps what it said. `on_step` is called with the
    number of repetitions that ended since the last call."""

    bundle: Path
    out: Path
    name: str
    said: list[str] = field(default_factory=list)
    on_step: Callable[[int], None] = lambda _count: None

    def __call__(self, settings: Settings = ONE_VARIANT, *, force: bool = False) -> Measured:
        bench = self

        class Watched(Unseen):
            def advance(self, count: int) -> None:
                bench.on_step(count)

        shown = Shown(pushing=Unseen(), measuring=Watched(), say=self.said.append)
        with connected(self.name) as device:
            session = Session(device, self.said.append)
            subject = prepare(self.bundle, settings)
            return measure(session, subject, settings, out=self.out, force=force, shown=shown)


@pytest.fixture
def bench(phone: Running, small_bundle: Path, tmp_path: Path) -> Bench:
    return Bench(bundle=small_bundle, out=tmp_path / "out", name=f"tcp:{phone.serial}")


def only(measured: Measured) -> Result:
    (result,) = measured.files.values()
    return result
