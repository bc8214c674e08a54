"""Draws docs/demo.svg from what the demo's commands really print: `make picture`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMANDS = (
    "imp-deploy demo demo-out/checkpoint",
    "imp-deploy export demo-out/checkpoint demo-out/bundle --name Imp-Demo",
    "imp-deploy run demo-out/bundle --image demo-out/checkpoint/images/scene-1.png "
    "--prompt 'What colour is the circle?'",
)
COLUMNS = 96


def main(target: Path) -> None:
    """`target`: the SVG. The commands run in the current folder, from this Python's environment."""
    environment = os.environ | {
        "FORCE_COLOR": "1",
        "COLUMNS": str(COLUMNS),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for command in COMMANDS:
            done = subprocess.run(
                shlex.split(command), env=environment, check=True, capture_output=True, text=True
            )
            console.print(Text(f"$ {command}", style="bold"))
            console.print(Text.from_ansi(done.stdout))  # progress bars go to stderr
        picture = console.export_svg(title="imp-deploy")
    # Rich names a font on the web; the picture shall need nothing but itself.
    target.write_text(re.sub(r"@font-face\s*{[^}]*}", "", picture))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
