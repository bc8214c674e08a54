"""Memory stays flat, whatever the size of a tensor and the number of files."""

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

ggml.load()
before = peak()
export.export(Path(sys.argv[1]), Path(sys.argv[2]), Options(), progress=Quiet())
print(peak() - before)
"""


def test_a_large_tensor_is_never_in_memory_as_a_whole(vocabularies: Path, tmp_path: Path) -> None:
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
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, str(checkpoint), str(tmp_path / "bundle")],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert int(done.stdout) < 150
