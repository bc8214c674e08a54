"""Memory stays flat, whatever the size of a tensor and the number of files, and nothing is read
twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.checkpoints import Sizes, make_checkpoint

# Reads the high-water mark of its own memory; a parent's would be inherited otherwise.
EXPORT = """
import sys
from pathlib import Path
from imp_deploy.convert import export, ggml
from imp_deploy.convert.plan import Options
from tests.quiet import Quiet

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024

def read():
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("rchar")))

ggml.load()
before, read_before = peak(), read()
export.export(Path(sys.argv[1]), Path(sys.argv[2]), Options(), progress=Quiet())
print(peak() - before, read() - read_before)
"""


def test_a_large_tensor_is_read_once_and_never_in_memory_as_a_whole(
    vocabularies: Path, tmp_path: Path
) -> None:
    """Imp-3B's embedding table is 524 MB as float32, its checkpoint 6 GB: a laptop must do. Here
    the two tables are 105 MB as float32 each, and every core may hold a piece of 24 MB."""
    checkpoint = make_checkpoint(
        tmp_path / "Imp",
        family="phi2",
        naming="hub",
        tokenizer="real",
        vocabularies=vocabularies,
        sizes=Sizes(hidden=512, heads=8, inner=512, rotary=32),
    )
    weights = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, str(checkpoint), str(tmp_path / "bundle")],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    peak, read = map(int, done.stdout.split())
    assert peak < 150
    # The weights, the tokenizer a few times, no byte of the output but the headers.
    assert read < 1.1 * weights + 60e6
