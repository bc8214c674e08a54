"""The options that all benchmarks of this package share, and their one way to end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from imp_deploy.errors import BadInput, ImpError


def parser(doc: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=doc.split("\n")[0])
    made.add_argument(
        "--folder",
        type=Path,
        default=Path("build/bench"),
        help="where the checkpoints are made and kept, and outputs come and go",
    )
    made.add_argument("--repetitions", type=int, default=5, help="runs of each row")
    made.add_argument("--only", default="", help="only rows with this text in their names")
    made.add_argument("--out", type=Path, help="the JSON file (default: in the folder)")
    return made


def chosen(rows: Sequence[str], only: str) -> list[str]:
    """The rows whose names hold `only`."""
    kept = [row for row in rows if only in row]
    if not kept:
        raise BadInput(f"No row is named so ({only}); choose from: {'; '.join(rows)}.")
    return kept


def run(main: Callable[[], None]) -> None:
    """A sentence instead of a traceback, and the exit code of the contract."""
    try:
        main()
    except ImpError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
