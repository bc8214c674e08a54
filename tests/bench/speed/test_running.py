"""What a process needs, what the machine is, what its disk gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from imp_deploy.bench.speed import asked, disk, floor, machine
from imp_deploy.bench.speed.child import run
from imp_deploy.errors import BadInput, DeviceError


def test_memory_and_cpu_of_a_child() -> None:
    """Peak memory is half of what the export table claims. From a small process, as the benchmarks
    are, because a child's begins at its parent's, and that of the tests is gigabytes."""
    measuring = """
import dataclasses, json, sys
from imp_deploy.bench.speed.child import run
code = "x = bytes(bytearray(300 << 20)); sum(range(10 ** 7))"
print(json.dumps(dataclasses.asdict(run([sys.executable, "-c", code]))))
"""
    argv = [sys.executable, "-c", measuring]
    spent = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    assert 300 << 20 <= spent["peak_bytes"] < 900 << 20
    assert spent["cpu_seconds"] > 0.05
    assert spent["seconds"] > 0


def test_a_child_that_fails_is_no_fast_one() -> None:
    code = "import sys; sys.exit('no tokenizer here')"
    with pytest.raises(DeviceError, match="status 1:\nno tokenizer here"):
        run([sys.executable, "-c", code])


def test_the_disk_of_a_folder() -> None:
    """The last mount whose place begins with the folder's, by whole names."""
    mounts = (
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "40 22 0:30 / /data rw,nosuid shared:5 - xfs /dev/nvme0n1 rw\n"
        "41 22 0:31 / /dat rw - tmpfs tmpfs rw\n"
        "broken line\n"
    )
    assert machine.disk_of(mounts, Path("/data/bench")) == "xfs on /dev/nvme0n1"
    assert machine.disk_of(mounts, Path("/database")) == "ext4 on /dev/vda"


def test_cpu_of_x86_and_of_arm() -> None:
    x86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2\n\nmodel name\t: other\n"
    assert machine.cpu_field(x86, "model name") == "AMD EPYC"
    assert machine.cpu_field("processor : 0\nFeatures : fp asimddp\n", "Features") == "fp asimddp"
    assert machine.cpu_field("", "flags") == ""


def test_rates_are_rates(tmp_path: Path) -> None:
    """A floor of nothing would say that we are infinitely far from it."""
    assert disk.write_rate(tmp_path, 8 << 20) > 1e6
    (tmp_path / "source").write_bytes(bytes(8 << 20))
    assert disk.warm(tmp_path) > 1e6
    assert list(tmp_path.iterdir()) == [tmp_path / "source"]
    assert disk.quantize_rate(disk.TYPES["Q4_0"], 1) > 1e6
    assert disk.hash_rate(8 << 20) > 1e6


def test_the_floor_is_what_takes_longest() -> None:
    """The disk works beside the cores, which share their work."""
    made = floor.Floor(read=2.0, write=7.0, quantize=9.0, hash=5.0, cores=2)
    assert made.seconds == 8.0
    assert floor.Floor(read=0, write=7.0, quantize=9.0, hash=0, cores=2).seconds == 7.0
    assert "measured: 1.50 times that" in made.sentence("export", 12.0)


def test_rows_that_there_are_not() -> None:
    assert asked.chosen(["a 8", "b 8", "c"], "8") == ["a 8", "b 8"]
    with pytest.raises(BadInput, match="a 8; b 8; c"):
        asked.chosen(["a 8", "b 8", "c"], "x")
