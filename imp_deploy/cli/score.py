from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imp_deploy.cli.output import JsonFlag, print_json, stderr

HELP = "Score the answers of `eval` again, without the model."


def command(
    result: Annotated[Path, typer.Argument(help="The .json file that `eval` wrote.")],
    data: Annotated[
        Path | None, typer.Option(help="The folder with the benchmark's files.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.bench.evaluate.rescore import rescore
    from imp_deploy.cli.eval import print_evaluations, to_json

    with stderr.status("reading the benchmark ..."):
        evaluation = rescore(result, data)
    if as_json:
        print_json({"evaluations": [to_json(result, evaluation)]})
    else:
        print_evaluations([(result, evaluation)])
