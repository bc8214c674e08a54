"""A file that grows is fetched line by line, each once, whatever moment it is looked at."""

from __future__ import annotations

from pathlib import Path

from imp_deploy.bench.host import HostDevice
from imp_deploy.bench.remote_run import RunFolder, Tail, last_attempt


def test_only_whole_lines_are_taken_and_each_once(tmp_path: Path) -> None:
    path = tmp_path / "it's growing.jsonl"
    tail, device = Tail(str(path)), HostDevice()
    tail.fetch(device)
    assert tail.text == ""
    path.write_text("one\ntw", "utf-8")
    tail.fetch(device)
    assert tail.text == "one\n"
    path.write_text("one\ntwo\ndreißig °C\n", "utf-8")
    tail.fetch(device)
    tail.fetch(device)
    assert tail.text == "one\ntwo\ndreißig °C\n"


def test_the_last_attempt_is_the_highest_number(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path), "abc")
    device = HostDevice()
    assert last_attempt(device, folder) == 0
    Path(folder.path).mkdir(parents=True)
    for name in ("log-9.jsonl", "log-10.jsonl", "log-11.jsonl.reserve", "results.jsonl"):
        (Path(folder.path) / name).touch()
    assert last_attempt(device, folder) == 10
