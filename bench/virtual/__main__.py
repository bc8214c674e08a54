"""`python -m imp_deploy.bench.virtual`: the process of one virtual phone.

With options, until it is interrupted. With `--attached SETTINGS` (JSON) for another program
(`power.py`): it says one JSON line when it is ready, answers each request line on stdin with
another, and goes off at the end of stdin.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from imp_deploy.bench.virtual.arguments import parsed
from imp_deploy.bench.virtual.server import HOST, Served, switched_on
from imp_deploy.bench.virtual.settings import Settings
from imp_deploy.errors import ImpError


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--attached"]:
        return _attached(json.loads(arguments[1]))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with switched_on(parsed(arguments)) as phone:
            print(f"{HOST}:{phone.port}", flush=True)
            stop.wait()
    except ImpError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _attached(value: dict[str, Any]) -> int:
    # Ctrl+C in a terminal reaches this process too; the program that owns the phone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given = value | {"folder": Path(value["folder"]), "faults": tuple(value["faults"])}
    try:
        with switched_on(Settings(**given)) as phone:
            _say({"port": phone.port})
            for line in sys.stdin:
                _say(_answer(phone, json.loads(line)))
    except ImpError as error:
        _say({"error": str(error)})
        return error.exit_code
    return 0


def _answer(phone: Served, request: dict[str, Any]) -> dict[str, Any]:
    try:
        if "fault" in request:
            phone.inject(request["fault"])
        else:
            phone.clear(request["clear"])
    except ImpError as error:
        return {"error": str(error)}
    return {}


def _say(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
