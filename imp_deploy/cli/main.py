"""The program `imp-deploy`: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
import unicodedata
from typing import Annotated

import typer
from rich.text import Text

from imp_deploy import __version__
from imp_deploy.cli import (
    bench,
    build,
    calibrate,
    check,
    demo,
    devices,
    eval,
    export,
    inspect,
    quality,
    report,
    run,
    score,
    tune,
    verify,
    virtual,
)
from imp_deploy.cli.output import console, stderr
from imp_deploy.errors import DeviceError, ImpError, Interrupted

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Imp, MobileVLM and LLaVA-1.5 on phones: export, verify, run, measure.",
)
app.command("export", help=export.HELP)(export.command)
app.command("inspect", help=inspect.HELP)(inspect.command)
app.command("run", help=run.HELP)(run.command)
app.command("verify", help=verify.HELP)(verify.command)
app.command("build", help=build.HELP)(build.command)
app.command("devices", help=devices.HELP)(devices.command)
app.command("bench", help=bench.HELP)(bench.command)
app.command("calibrate", help=calibrate.HELP)(calibrate.command)
app.command("tune", help=tune.HELP)(tune.command)
app.command("check", help=check.HELP)(check.command)
app.command("quality", help=quality.HELP)(quality.command)
app.command("eval", help=eval.HELP)(eval.command)
app.command("score", help=score.HELP)(score.command)
app.command("report", help=report.HELP)(report.command)
app.command("virtual", help=virtual.HELP)(virtual.command)
app.command("demo", help=demo.HELP)(demo.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"imp-deploy {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def _interrupt(_number: int, _frame: object) -> None:
    raise Interrupted


def main() -> None:
    """Runs one command; every error ends here."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGINT, _interrupt)
    try:
        # `--debug` is taken wherever it stands: it is added to a command that just failed.
        app(args=[a for a in sys.argv[1:] if a != "--debug"])
    except ImpError as error:
        _report(str(error), lines=isinstance(error, DeviceError))
        sys.exit(error.exit_code)
    except Interrupted:
        _report("Interrupted; run the same command again to go on.")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        _report(
            f"Internal error: {type(error).__name__}: {error}; this is a bug, please report it "
            "with the output of the same command after `imp-deploy --debug`."
        )
        sys.exit(1)


def _report(message: str, *, lines: bool = False) -> None:
    """One line, whatever a path or a tensor's name holds; with `lines` its line ends stay."""
    if "--debug" in sys.argv:
        traceback.print_exc()
    kept = "\n" if lines else ""
    shown = "".join(
        c if c in kept or unicodedata.category(c) != "Cc" else repr(c)[1:-1] for c in message
    )
    stderr.print(Text.assemble(("Error:", "bold red"), " ", shown), highlight=False, soft_wrap=True)
