"""Evaluating on a phone: the virtual one, with programs for ARM."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from imp_deploy import evaluation as evaluations
from imp_deploy.bench import adb_direct
from imp_deploy.bench.evaluate import on_device
from imp_deploy.bench.evaluate.selection import Selection, select
from imp_deploy.bench.store_clean import clean
from imp_deploy.bench.tasks import demo
from imp_deploy.bench.tasks.task import FilePicture
from imp_deploy.bench.virtual import settings as virtual
from imp_deploy.bench.virtual import tools
from imp_deploy.bench.virtual.power import Running, powered
from imp_deploy.build.phone import build_phones
from imp_deploy.cache import cache_folder
from imp_deploy.errors import BadInput, DeviceError
from imp_deploy.progress import Unseen
from tests.bench.evaluate.conftest import Evaluator
from tests.small import SIDE, run_export, small_checkpoint


@pytest.fixture(scope="module", autouse=True)
def arm() -> None:
    """The runners for phones are built, and the virtual phone can be switched on."""
    try:
        tools.find()
    except DeviceError as error:
        pytest.skip(str(error))
    build_phones(progress=Unseen())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of its own; the builds stay where they are, they take minutes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_folder().parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ADB_VENDOR_KEYS", raising=False)
    monkeypatch.setattr(on_device, "_POLL_SECONDS", 0.2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: quick, and its answers differ from question to question."""
    folder = tmp_path_factory.mktemp("evaluating")
    checkpoint = small_checkpoint(folder / "checkpoint")
    run_export(checkpoint, folder / "bundle", bits=(16, 4), resolutions=(SIDE,))
    return folder / "bundle"


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Running]:
    with powered(virtual.Settings(folder=tmp_path / "phone", disk_bytes=1 << 30)) as running:
        yield running


@pytest.fixture
def there(phone: Running, tiny: Path, tmp_path: Path) -> Evaluator:
    return Evaluator(bundle=tiny, out=tmp_path / "out", name=f"tcp:{phone.serial}")


@pytest.fixture(scope="module")
def some() -> Selection:
    return select(demo.TASK, None, limit=40)


def left_over(phone: Running) -> list[str]:
    device = adb_direct.connect_tcp(phone.host, phone.port)
    try:
        return device.shell("ls /data/local/tmp/imp-deploy/runs 2>/dev/null").text.split()
    finally:
        device.close()


def test_the_phone_answers_as_this_machine_does(
    there: Evaluator, phone: Running, some: Selection, tmp_path: Path
) -> None:
    done = there(some, bits=16)
    assert done.complete
    assert done.device.emulated
    assert left_over(phone) == []
    here = Evaluator(bundle=there.bundle, out=tmp_path / "here")
    assert here(some, bits=16).marks == done.marks
    on_phone, on_host = there.answers(), here.answers()
    assert set(on_phone) == set(on_host)
    same = [on_phone[id].token_ids == on_host[id].token_ids for id in on_host]
    assert sum(same) >= 38  # two processors round differently, and near ties fall either way


def test_pictures_are_pushed_once_for_all_variants(
    there: Evaluator, phone: Running, some: Selection
) -> None:
    there(some, bits=16)
    device = adb_direct.connect_tcp(phone.host, phone.port)
    listing = "cd /data/local/tmp/imp-deploy/files && stat -c '%n %i %y' [0-9a-f]*"
    before = set(device.shell(listing).text.splitlines())
    there(some, bits=4)
    after = set(device.shell(listing).text.splitlines())
    device.close()
    assert before < after
    new = {line.split()[0].split(".")[0] for line in after - before}
    assert len(new) == 2  # the other language model and its tower


def test_a_link_that_breaks_costs_nothing(
    there: Evaluator, phone: Running, some: Selection
) -> None:
    breaks: list[int] = []

    def break_it(count: int) -> None:
        if count > 0 and len(breaks) < 3:
            breaks.append(count)
            phone.inject("drop")

    there.on_answers = break_it
    assert there(some).complete
    assert breaks


def test_a_program_that_the_phone_kills_is_started_again(
    there: Evaluator, phone: Running, some: Selection
) -> None:
    struck: list[int] = []

    def strike(count: int) -> None:
        if count > 0 and not struck:
            struck.append(count)
            phone.inject("kill=9")

    there.on_answers = strike
    assert there(some).complete
    assert struck
    assert len(there.answers()) == 40


def test_the_next_call_collects_what_the_phone_did_alone(there: Evaluator, some: Selection) -> None:
    class Unplugged(Exception):
        pass

    def unplug(count: int) -> None:
        if count > 0:
            raise Unplugged

    there.on_answers = unplug
    with pytest.raises(Unplugged):
        there(some)
    there.on_answers = lambda _count: None
    assert there(some).complete
    assert len(there.answers()) == 40


def test_asking_anew_takes_nothing_that_the_phone_still_holds(
    there: Evaluator, phone: Running, some: Selection
) -> None:
    class Unplugged(Exception):
        pass

    def unplug(count: int) -> None:
        if count > 0:
            raise Unplugged

    there.on_answers = unplug
    with pytest.raises(Unplugged):
        there(some)
    (run,) = left_over(phone)
    device = adb_direct.connect_tcp(phone.host, phone.port)
    results = f"/data/local/tmp/imp-deploy/runs/{run}/results.jsonl"
    before = device.shell(f"head -n 1 {results}").text
    device.close()
    there.on_answers = lambda _count: None
    assert there(some, force=True).complete
    first = json.loads(before)
    again = there.answers()[first["step"]]
    assert again.token_ids == tuple(first["token_ids"])
    assert again.seconds.total != first["seconds"]["total"]


def test_a_program_that_never_runs_is_named(
    there: Evaluator, phone: Running, some: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = on_device.job_for

    def damaged(*arguments: object, **keys: object) -> object:
        job = text(*arguments, **keys)  # type: ignore[arg-type]
        return dataclasses.replace(job, model=Path("/nowhere.gguf"))

    monkeypatch.setattr(on_device, "job_for", damaged)
    with pytest.raises(DeviceError, match=r"nowhere\.gguf"):
        there(some)
    assert left_over(phone)
    monkeypatch.setattr(on_device, "job_for", text)
    assert there(some).complete


def test_a_bad_picture_ends_it_there_too(
    there: Evaluator, phone: Running, some: Selection, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    questions = list(some.questions)
    questions[-1] = dataclasses.replace(questions[-1], picture=FilePicture("broken.png", broken))
    with pytest.raises(BadInput, match=r"broken\.png"):
        there(dataclasses.replace(some, questions=tuple(questions)))
    (path,) = there.out.glob("*.json")
    assert not evaluations.load(path).complete
    device = adb_direct.connect_tcp(phone.host, phone.port)
    assert clean(device) > 0
    device.close()
