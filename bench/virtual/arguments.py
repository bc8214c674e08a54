"""The options of `python -m imp_deploy.bench.virtual`."""

from __future__ import annotations

import argparse
from pathlib import Path

from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.bench.virtual.socs import SOCS


def parsed(arguments: list[str]) -> Settings:
    default = Settings()
    parser = argparse.ArgumentParser(prog="python -m imp_deploy.bench.virtual")
    parser.add_argument("--port", type=int, default=default.port)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--soc", default=default.soc, choices=SOCS)
    parser.add_argument("--disk-bytes", type=int, default=default.disk_bytes)
    parser.add_argument("--memory-bytes", type=int, default=default.memory_bytes)
    parser.add_argument("--battery-percent", type=int, default=default.battery_percent)
    parser.add_argument("--ambient-celsius", type=float, default=default.ambient_celsius)
    parser.add_argument("--consent", default="accept", choices=("accept", "refuse", "open"))
    parser.add_argument("--fault", dest="faults", action="append", default=[])
    values = vars(parser.parse_args(arguments))
    return Settings(**values | {"faults": tuple(values["faults"])})
