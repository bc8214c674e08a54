"""Bringing files to a device: never twice, never wrong, never for nothing."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from imp_deploy.bench import adb_direct, adb_server, detached, store, store_lock
from imp_deploy.bench.device import Device, checked
from imp_deploy.bench.host import HostDevice
from imp_deploy.bench.store import Deployed, Wanted, deploy
from imp_deploy.bench.store_clean import clean
from imp_deploy.bench.store_files import MIB
from imp_deploy.bench.store_lock import NAME
from imp_deploy.bench.virtual.power import Running, powered
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.errors import BadInput, DeviceError
from tests.bench.devices.real_adb import Adb

QUICK = (0.05, 0.1, 0.2)


class Seen:
    """Progress as a bar would show it."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self.done = 0

    def start(self, phase: str, total: int) -> None:
        assert phase == "push"
        self.totals.append(total)

    def advance(self, count: int) -> None:
        self.done += count


def _file(folder: Path, name: str, content: bytes, *, executable: bool = False) -> Wanted:
    path = folder / name
    path.write_bytes(content)
    return Wanted(path, hashlib.sha256(content).hexdigest(), len(content), executable)


def _deploy(
    device: Device, *wanted: Wanted, piece: int = MIB, seen: Seen | None = None
) -> Deployed:
    return deploy(device, wanted, seen or Seen(), piece_bytes=piece, pauses=QUICK)


def _content(device: Device, deployed: Deployed, wanted: Wanted) -> bytes:
    target = wanted.path.with_name("back")
    device.pull(deployed.paths[wanted.sha256], target)
    return target.read_bytes()


def test_files_arrive_whole_under_their_hash_and_only_once(direct: Device, tmp_path: Path) -> None:
    wanted = (
        _file(tmp_path, "model", os.urandom(3 * MIB + 17)),
        _file(tmp_path, "empty", b""),
        _file(tmp_path, "exact", os.urandom(2 * MIB)),
        _file(tmp_path, "runner", b"#!/bin/sh\necho it runs\n", executable=True),
        _file(tmp_path, "again", b"#!/bin/sh\necho it runs\n"),
    )
    seen = Seen()
    done = _deploy(direct, *wanted, seen=seen)
    for file in wanted:
        assert done.paths[file.sha256] == f"{direct.root}/files/{file.sha256}"
        assert _content(direct, done, file) == file.path.read_bytes()
    assert direct.shell(done.paths[wanted[3].sha256]).text == "it runs\n"
    total = sum(file.bytes for file in wanted[:4])
    assert (done.pushed_bytes, seen.totals, seen.done) == (total, [total], total)
    assert done.notes == ()
    left = checked(direct, f"ls -A {direct.root} {direct.root}/files")
    assert not re.search(r"piece|partial|lock", left)
    second = Seen()
    again = _deploy(direct, *wanted, seen=second)
    assert (again.pushed_bytes, second.totals, again.paths) == (0, [], done.paths)


def test_a_second_deploy_does_not_even_hash(direct: Device, tmp_path: Path) -> None:
    """Hashing gigabytes takes a phone seconds, before every measurement."""
    file = _file(tmp_path, "model", os.urandom(MIB))
    done = _deploy(direct, file)
    path = done.paths[file.sha256]

    def noted() -> str:
        return checked(direct, f"stat -c '%i %y %z' {path}.ok; cat {path}.ok")

    first = noted()
    assert _deploy(direct, file).pushed_bytes == 0
    assert noted() == first
    checked(direct, f"touch -d @1 {path}")
    assert _deploy(direct, file).pushed_bytes == 0
    assert noted() != first


@pytest.mark.parametrize(
    "damage",
    [
        "printf x | dd of=$f bs=1 seek=100 conv=notrunc",
        "truncate -s 1000 $f",
        "echo more >> $f",
        "printf x | dd of=$f bs=1 seek=100 conv=notrunc; touch -d @1 $f",
    ],
)
def test_a_damaged_file_is_noticed_and_pushed_again(
    direct: Device, tmp_path: Path, damage: str
) -> None:
    file = _file(tmp_path, "model", os.urandom(MIB + 5))
    other = _file(tmp_path, "other", os.urandom(1000))
    done = _deploy(direct, file, other)
    checked(direct, f"f={done.paths[file.sha256]}; {damage}")
    again = _deploy(direct, file, other)
    assert again.pushed_bytes == file.bytes
    assert "model was damaged" in again.notes[0]
    assert _content(direct, again, file) == file.path.read_bytes()


def test_bytes_that_the_flash_lost(phone: Running, direct: Device, tmp_path: Path) -> None:
    file = _file(tmp_path, "model", os.urandom(MIB))
    done = _deploy(direct, file)
    phone.inject(f"damage={done.paths[file.sha256]}")
    again = _deploy(direct, file)
    assert again.pushed_bytes == file.bytes
    assert _content(direct, again, file) == file.path.read_bytes()


@pytest.mark.parametrize(
    ("way", "after"),
    [
        ("tcp", 10),
        ("tcp", 700_000),
        ("tcp", 3_000_000),
        ("tcp", 5_246_000),
        ("adb", 700_000),
        ("adb", 3_000_000),
    ],
)
def test_link_lost_in_the_push(
    phone: Running, adb: Adb, tmp_path: Path, way: str, after: int
) -> None:
    if way == "tcp":
        device: Device = adb_direct.connect_tcp(phone.host, phone.port)
    else:
        adb("connect", phone.serial)
        device = adb_server.connect(phone.serial)
        device.reconnect()
    file = _file(tmp_path, "model", os.urandom(5 * MIB + 3))
    seen = Seen()
    phone.inject(f"drop-after={after}")
    done = _deploy(device, file, seen=seen)
    assert any("broke off" in note for note in done.notes)
    assert _content(device, done, file) == file.path.read_bytes()
    # No more than the piece that was under way went over twice.
    assert done.pushed_bytes <= file.bytes + MIB
    assert seen.done == seen.totals[0] == file.bytes
    device.close()


def test_a_phone_that_stays_away(phone: Running, direct: Device, tmp_path: Path) -> None:
    file = _file(tmp_path, "model", os.urandom(5 * MIB))
    phone.inject("drop-after=3000000")

    class Gone(Seen):
        def advance(self, count: int) -> None:
            super().advance(count)
            if count < 0:
                os.kill(phone.pid, signal.SIGKILL)

    with pytest.raises(DeviceError, match=r"same command again, it goes on where it stopped"):
        _deploy(direct, file, seen=Gone())


def test_what_was_pushed_before_everything_broke_is_not_pushed_again(tmp_path: Path) -> None:
    file = _file(tmp_path, "model", os.urandom(5 * MIB))
    settings = Settings(folder=tmp_path / "phone")
    with powered(settings) as phone:
        device = adb_direct.connect_tcp(phone.host, phone.port)
        phone.inject("drop-after=3500000")
        with pytest.raises(DeviceError, match="0 new connections"):
            deploy(device, [file], Seen(), piece_bytes=MIB, pauses=())
        device.close()
    with powered(settings) as phone:
        device = adb_direct.connect_tcp(phone.host, phone.port)
        seen = Seen()
        done = _deploy(device, file, seen=seen)
        assert 0 < done.pushed_bytes <= 3 * MIB
        assert seen.done == seen.totals[0] == done.pushed_bytes
        assert _content(device, done, file) == file.path.read_bytes()
        device.close()


def test_a_piece_that_was_copied_in_part(direct: Device, tmp_path: Path) -> None:
    """Power off in the middle of `dd`: what is there is good up to the last whole MiB."""
    file = _file(tmp_path, "model", os.urandom(4 * MIB))
    content = file.path.read_bytes()
    partial = f"{direct.root}/files/{file.sha256}.partial"
    (tmp_path / "half").write_bytes(content[: 2 * MIB + 12345])
    with (tmp_path / "half").open("rb") as half:
        direct.push(half, partial, mode=0o644, advance=lambda _: None)
    done = _deploy(direct, file)
    assert done.pushed_bytes == 2 * MIB
    assert _content(direct, done, file) == content


def test_leftovers_of_another_file_are_not_kept(direct: Device, tmp_path: Path) -> None:
    file = _file(tmp_path, "model", os.urandom(3 * MIB))
    (tmp_path / "junk").write_bytes(os.urandom(2 * MIB))
    for suffix in (".partial", ".piece"):
        with (tmp_path / "junk").open("rb") as junk:
            target = f"{direct.root}/files/{file.sha256}{suffix}"
            direct.push(junk, target, mode=0o644, advance=lambda _: None)
    done = _deploy(direct, file)
    assert "arrived damaged" in done.notes[0]
    assert _content(direct, done, file) == file.path.read_bytes()


def test_not_enough_space_is_said_before_anything_is_pushed(tmp_path: Path) -> None:
    file = _file(tmp_path, "model", os.urandom(30 * MIB))
    with powered(Settings(folder=tmp_path / "phone", disk_bytes=40 * MIB)) as phone:
        device = adb_direct.connect_tcp(phone.host, phone.port)
        seen = Seen()
        with pytest.raises(DeviceError, match=r"MiB free.*MiB are needed.*--clean.*--bits"):
            _deploy(device, file, seen=seen)
        assert seen.totals == []
        device.close()


def test_the_disk_runs_full_during_the_push(phone: Running, direct: Device, tmp_path: Path) -> None:
    file = _file(tmp_path, "model", os.urandom(5 * MIB))

    class Filling(Seen):
        def advance(self, count: int) -> None:
            super().advance(count)
            if 2 * MIB < self.done < 3 * MIB:
                phone.inject("disk-full")

    with pytest.raises(DeviceError, match=r"disk ran full.*--clean"):
        _deploy(direct, file, seen=Filling())
    phone.clear()
    done = _deploy(direct, file)
    assert done.pushed_bytes < file.bytes
    assert _content(direct, done, file) == file.path.read_bytes()


def test_a_bundle_file_changed_after_export_is_not_measured(direct: Device, tmp_path: Path) -> None:
    file = _file(tmp_path, "model", os.urandom(MIB))
    content = bytearray(file.path.read_bytes())
    content[12345] ^= 1
    file.path.write_bytes(content)
    with pytest.raises(BadInput, match=r"model was changed after it was exported.*export"):
        _deploy(direct, file)
    file.path.write_bytes(content[:-1])
    with pytest.raises(BadInput, match=r"1048575 bytes and had 1048576"):
        _deploy(direct, file)
    file.path.unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        _deploy(direct, file)
    assert direct.shell(f"ls {direct.root}/files 2>/dev/null").text == ""


def test_local_files_are_hashed_before_the_lock_is_taken(direct: Device, tmp_path: Path) -> None:
    """From a slow disk it takes minutes; the device hears nothing, and the lock would seem dead."""
    file = _file(tmp_path, "model", os.urandom(MIB))
    file.path.write_bytes(bytes(MIB))
    checked(direct, f"mkdir -p {direct.root}; echo other 1 2 token > {direct.root}/{NAME}")
    began = time.monotonic()
    with pytest.raises(BadInput, match="was changed after it was exported"):
        _deploy(direct, file)
    assert time.monotonic() - began < 10


PUSHER = """
import sys
from pathlib import Path
from imp_deploy.bench import adb_direct
from imp_deploy.bench.store import Wanted, deploy
from imp_deploy.bench.store_files import MIB

class Told:
    def start(self, phase, total): pass
    def advance(self, count): print(count, flush=True)

host, port, path, sha256, size = sys.argv[1:]
device = adb_direct.connect_tcp(host, int(port))
deploy(device, [Wanted(Path(path), sha256, int(size))], Told(), piece_bytes=MIB)
"""


def _pusher(phone: Running, file: Wanted) -> subprocess.Popen[str]:
    words = [phone.host, str(phone.port), str(file.path), file.sha256, str(file.bytes)]
    argv = [sys.executable, "-c", PUSHER, *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_the_pushing_process_is_killed_and_started_again(
    phone: Running, direct: Device, tmp_path: Path
) -> None:
    file = _file(tmp_path, "model", os.urandom(12 * MIB))
    phone.inject("slow=20000000")
    with _pusher(phone, file) as pusher:
        assert pusher.stdout is not None
        went = 0
        while went < 5 * MIB:
            went += int(pusher.stdout.readline())
        pusher.kill()
    phone.clear()
    assert direct.shell(f"cat {direct.root}/{NAME}").text  # it could not take its lock away
    began = time.monotonic()
    done = _deploy(direct, file)
    assert time.monotonic() - began < 10
    assert done.pushed_bytes <= file.bytes - 4 * MIB
    assert _content(direct, done, file) == file.path.read_bytes()


def test_two_at_once(phone: Running, direct: Device, tmp_path: Path) -> None:
    """Two benches of one bundle: one pushes, the other waits, neither damages anything."""
    file = _file(tmp_path, "model", os.urandom(12 * MIB))
    phone.inject("slow=20000000")
    with _pusher(phone, file) as pusher:
        assert pusher.stdout is not None
        pusher.stdout.readline()
        with pytest.raises(DeviceError, match="another imp-deploy"):
            clean(direct)
        done = _deploy(direct, file)
        assert any("another imp-deploy" in note for note in done.notes)
        assert done.pushed_bytes == 0
        assert _content(direct, done, file) == file.path.read_bytes()
        pusher.stdout.read()
    assert pusher.returncode == 0


def test_two_threads_at_once(phone: Running, tmp_path: Path) -> None:
    file = _file(tmp_path, "model", os.urandom(6 * MIB))
    found: list[Deployed] = []

    def one() -> None:
        device = adb_direct.connect_tcp(phone.host, phone.port)
        found.append(_deploy(device, file))
        device.close()

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done.pushed_bytes for done in found) == [0, 0, file.bytes]


def test_a_lock_of_another_machine_that_went_away(
    direct: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _file(tmp_path, "model", os.urandom(MIB))
    checked(direct, f"mkdir -p {direct.root}; echo other 1 2 token > {direct.root}/{NAME}")
    monkeypatch.setattr("imp_deploy.bench.store_lock.SILENT_SECONDS", 2)
    done = _deploy(direct, file)
    assert "waiting" in done.notes[0]
    assert done.pushed_bytes == file.bytes


@pytest.mark.parametrize("ahead", [1000, -1000])
def test_a_push_of_a_host_whose_clock_is_wrong_is_not_taken_for_dead(
    direct: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """A push gives the file its host's time: by it, the other machine would write in the future, or
    would not have written for long."""
    lock, piece = f"{direct.root}/{NAME}", f"{direct.root}/files/x.piece"
    checked(direct, f"mkdir -p {direct.root}/files; echo other 1 2 token > {lock}")
    monkeypatch.setattr(store_lock, "SILENT_SECONDS", 2)
    time.sleep(2.5)
    checked(direct, f": > {piece}; touch -d @{int(time.time()) + ahead} {piece}")
    assert store_lock.holder(direct) is not None
    # Nor does it seem to live for all of that time once it is dead.
    done = _deploy(direct, _file(tmp_path, "model", os.urandom(1000)))
    assert "waiting" in done.notes[0]


def test_a_clock_that_was_set_back_makes_nobody_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = HostDevice()
    early = tmp_path / "date"
    early.write_text(f"#!/bin/sh\necho {int(time.time()) - 1000}\n")
    early.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    checked(device, f"mkdir -p {device.root}; echo other 1 2 token > {device.root}/{NAME}")
    changed = Path(device.root, NAME).stat().st_ctime_ns
    assert store_lock.holder(device) is not None
    # From now on its silence counts anew.
    assert Path(device.root, NAME).stat().st_ctime_ns > changed


def test_hashing_a_large_file_is_a_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine would take the lock away and push into the same file."""
    device = HostDevice()
    file = _file(tmp_path, "model", os.urandom(1000))
    slow = tmp_path / "bin" / "sha256sum"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\nsleep 4\nexec {shutil.which("sha256sum")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(store_lock, "SILENT_SECONDS", 2)
    monkeypatch.setattr(store_lock, "_TOUCH_SECONDS", 0.5)
    pushing = threading.Thread(target=_deploy, args=(device, file))
    pushing.start()
    time.sleep(3.5)
    owner = Path(device.root, NAME).read_text().strip()
    monkeypatch.setattr(store_lock, "_machine", lambda: "elsewhere")
    assert store_lock.holder(device) == owner
    pushing.join()
    assert store_lock.holder(device) is None
    assert Path(device.root, "files", file.sha256).read_bytes() == file.path.read_bytes()


def test_the_host_is_a_device_too(tmp_path: Path) -> None:
    device = HostDevice()
    file = _file(tmp_path, "model", os.urandom(3 * MIB + 1))
    done = _deploy(device, file)
    assert Path(done.paths[file.sha256]).read_bytes() == file.path.read_bytes()
    assert _deploy(device, file).pushed_bytes == 0
    assert clean(device) >= file.bytes
    assert not Path(device.root).exists()


def test_clean_removes_ours_and_nothing_else(direct: Device, tmp_path: Path) -> None:
    file = _file(tmp_path, "model", os.urandom(MIB))
    assert clean(direct) == 0
    _deploy(direct, file)
    detached.start(direct, ["true"], f"{direct.root}/runs/0123abcd")
    checked(
        direct,
        f"cd {direct.root} && mkdir -p ../mine/runs/victim runs/album\necho a > runs/album/photo\n"
        "echo a > ../mine/runs/victim/pid; echo a > files/notes.txt; echo a > 'files/it is mine'\n"
        f"ln -s {direct.root}/../mine runs/link; ln -s ../../mine files/{'a' * 64}",
    )
    notes: list[str] = []
    assert clean(direct, notes.append) >= file.bytes
    left = checked(direct, f"cd {direct.root}/.. && find . ! -type d").split("\n")
    expected = [
        "./imp-deploy/files/" + "a" * 64,
        "./imp-deploy/files/it is mine",
        "./imp-deploy/files/notes.txt",
        "./imp-deploy/runs/album/photo",
        "./imp-deploy/runs/link",
        "./mine/runs/victim/pid",
    ]
    assert sorted(filter(None, left)) == expected
    assert "runs/album" in notes[0]
    assert "not ours" in notes[0]


def test_clean_leaves_what_is_behind_a_link(direct: Device) -> None:
    checked(
        direct,
        f"mkdir -p {direct.root} /data/local/tmp/photos/a && cd {direct.root} && "
        f"echo x > ../photos/{'b' * 64}; echo x > ../photos/a/pid; "
        "ln -s ../photos files; ln -s ../photos runs",
    )
    assert clean(direct) == 0
    assert direct.shell("ls /data/local/tmp/photos/a").text == "pid\n"
    assert direct.shell(f"cat /data/local/tmp/photos/{'b' * 64}").text == "x\n"


def test_clean_does_not_pull_the_ground_from_under_a_run(direct: Device) -> None:
    folder = f"{direct.root}/runs/0123abcd"
    detached.start(direct, ["sleep", "60"], folder)
    with pytest.raises(DeviceError, match=r"at work.*wait for it.*bench --clean --force"):
        clean(direct)
    assert detached.running(direct, folder)
    detached.kill(direct, folder)
    clean(direct)
    assert direct.stat(direct.root) is None


def test_pieces_shrink_when_the_cable_breaks_again_and_again(
    phone: Running, direct: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SMALLEST_PIECE", MIB)
    file = _file(tmp_path, "model", os.urandom(8 * MIB))

    class Breaking(Seen):
        def advance(self, count: int) -> None:
            super().advance(count)
            if count < 0 or self.done == count:
                phone.inject(f"drop-after={3 * MIB}")

    done = _deploy(direct, file, piece=8 * MIB, seen=Breaking())
    assert _content(direct, done, file) == file.path.read_bytes()
