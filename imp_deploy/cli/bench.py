from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imp_deploy.cli.output import (
    JsonFlag,
    console,
    device_name,
    gib,
    note,
    numbers,
    print_json,
    progress_bars,
    stderr,
    table,
    variant_name,
)
from imp_deploy.errors import DeviceError
from imp_deploy.results import METRICS, Result, protocol_marks, summary

if TYPE_CHECKING:
    from imp_deploy.bench.many import Failed
    from imp_deploy.bench.measure import Measured

HELP = (
    "Measure a bundle's variants on phones over ADB: T_VE, S_prompt, S_gen and T_total, by the "
    "paper's protocol unless told otherwise. An interrupted measurement goes on when the same "
    "command is given again."
)


def command(
    bundle: Annotated[
        Path | None, typer.Argument(help="The folder that `export` wrote.", show_default=False)
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="adb:SERIAL, tcp:HOST:PORT, usb:SERIAL, virtual or host; may be given again.",
            show_default="the one phone there is",
        ),
    ] = None,
    bits: Annotated[str | None, typer.Option(show_default="all in the bundle")] = None,
    resolution: Annotated[str | None, typer.Option(show_default="all in the bundle")] = None,
    vision_bits: Annotated[
        int | None, typer.Option(show_default="16 with --bits 16, 8 with 8 and 4, or the nearest")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("bench-results"),
    image: Annotated[
        Path | None, typer.Option(help="A picture.", show_default="a drawn one, 640 x 480")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="A question.")] = None,
    text_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="Tokens of text, made to fit.", show_default="41; with --prompt its own"
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=2, help="Tokens to generate, whatever the model says.")
    ] = 64,
    repetitions: Annotated[int, typer.Option(min=1, help="Measured rounds.")] = 5,
    warmups: Annotated[int, typer.Option(min=0, help="Rounds before them.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, max=512, show_default="one per big core")
    ] = None,
    cpu_mask: Annotated[
        str | None, typer.Option(help="Cores, hexadecimal.", show_default="the big cores")
    ] = None,
    cooldown: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help="Rest before each repetition until the processor is below so many °C; 0: none.",
            show_default="40; host: 0",
        ),
    ] = None,
    cooldown_seconds: Annotated[
        float, typer.Option(min=0, max=3600, help="The longest rest.")
    ] = 60.0,
    timeout: Annotated[
        float,
        typer.Option(min=1, max=86400, help="Seconds until a repetition counts as hung."),
    ] = 900.0,
    ndk: Annotated[
        bool, typer.Option("--ndk", help="The runner of `build android-ndk` (OpenCL).")
    ] = False,
    cached_text: Annotated[
        bool,
        typer.Option(
            "--cached-text",
            help="With the text before the image in the cache, as for a second question: a row of "
            "its own, never the paper's protocol.",
        ),
    ] = False,
    tuned: Annotated[
        bool,
        typer.Option("--tuned", help="With the settings that `tune` keeps: a row of its own."),
    ] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Instead of measuring, remove our files there.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Measure anew; with --clean: stop what is at work.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.bench.discover import choose
    from imp_deploy.bench.settings import Settings

    if any(math.isnan(value) for value in (cooldown or 0.0, cooldown_seconds, timeout)):
        raise typer.BadParameter("nan is no number of seconds or degrees")
    if tuned and (threads is not None or cpu_mask is not None or ndk):
        raise typer.BadParameter(
            "--tuned brings its own --threads and --cpu-mask, and is not for --ndk"
        )
    names = choose([device_name(name) for name in device or ()])
    if clean:
        _clean(names, force=force, as_json=as_json)
        return
    if bundle is None:
        raise typer.BadParameter("give the folder that `export` wrote", param_hint="BUNDLE")
    settings = Settings(
        bits=None if bits is None else numbers(bits, None, "--bits"),
        resolutions=None if resolution is None else numbers(resolution, None, "--resolution"),
        vision_bits=vision_bits,
        prompt=prompt,
        image=image,
        text_tokens=text_tokens,
        generated_tokens=max_tokens,
        warmups=warmups,
        repetitions=repetitions,
        threads=threads,
        cpu_mask=cpu_mask,
        cooldown=cooldown,
        cooldown_seconds=cooldown_seconds,
        timeout=timeout,
        ndk=ndk,
        cached_text=cached_text,
        tuned=tuned,
    )
    _measure(bundle, names, settings, out=out, force=force, as_json=as_json)


def _measure(
    bundle: Path, names: Sequence[str], settings: Any, *, out: Path, force: bool, as_json: bool
) -> None:
    from imp_deploy.bench.many import Failed, measure_all
    from imp_deploy.bench.subject import prepare

    with stderr.status("checking the bundle ..."):
        subject = prepare(bundle, settings)
    with _shown() as shown:
        reached = measure_all(names, subject, settings, out=out, force=force, shown=shown)
    if as_json:
        print_json({"devices": [_json(entry) for entry in reached]})
    else:
        for entry in reached:
            if not isinstance(entry, Failed) and any(r.samples for r in entry.files.values()):
                _print(entry)
    problems = [
        problem
        for entry in reached
        for problem in ([str(entry.error)] if isinstance(entry, Failed) else entry.problems)
    ]
    errors = [entry.error for entry in reached if isinstance(entry, Failed)]
    if problems and len(errors) == len(reached) and len({type(e) for e in errors}) == 1:
        raise type(errors[0])("\n".join(problems))
    if problems:
        raise DeviceError("\n".join(problems))


@contextmanager
def _shown() -> Iterator[Any]:
    from imp_deploy.bench.carry_out import Shown

    with progress_bars() as bars:
        yield lambda: Shown(pushing=bars.bar("bytes"), measuring=bars.bar("steps"), say=note)


def _clean(names: Sequence[str], *, force: bool, as_json: bool) -> None:
    from imp_deploy.bench import remote_run
    from imp_deploy.bench.discover import connected
    from imp_deploy.bench.store_clean import clean

    freed: dict[str, int] = {}
    problems = []
    for name in names:
        try:
            with connected(name, note=note) as device:
                if force:
                    remote_run.stop_all(device)
                freed[name] = clean(device, note)
        except DeviceError as error:
            problems.append(str(error))
    if as_json:
        print_json({"freed_bytes": freed})
    else:
        for name, count in freed.items():
            console.print(f"{name}: {gib(count)} freed.", highlight=False)
    if problems:
        raise DeviceError("\n".join(problems))


def _json(entry: Measured | Failed) -> dict[str, Any]:
    from imp_deploy.bench.many import Failed

    if isinstance(entry, Failed):
        return {"device": entry.device, "error": str(entry.error), "results": []}
    return {
        "device": entry.device,
        "pushed_bytes": entry.pushed_bytes,
        "problems": list(entry.problems),
        "results": [
            {
                "file": str(path),
                "variant": dataclasses.asdict(result.variant),
                "emulated": result.device.emulated,
                "complete": result.complete,
                "kept": path in entry.kept,
                "samples": len(result.measured),
                "summary": {k: dataclasses.asdict(v) for k, v in summary(result.measured).items()},
                "warnings": [dataclasses.asdict(warning) for warning in result.warnings],
                "failures": [dataclasses.asdict(failure) for failure in result.failures],
            }
            for path, result in entry.files.items()
        ],
    }


def _print(entry: Measured) -> None:
    results = list(entry.files.values())
    device = results[0].device
    kind = "emulated" if device.emulated else ""
    model = " ".join(word for word in (kind, device.manufacturer, device.model) if word)
    shown = table(
        *("variant", "size", "T_VE", "S_prompt", "S_gen", "T_total", "samples"),
        title=f"{results[0].bundle.name} on {entry.device}: {model}",
    )
    for result in results:
        shown.add_row(*_row(result))
    console.print(shown)
    for code, message in dict.fromkeys(
        (w.code, w.message) for result in results for w in result.warnings
    ):
        note(f"{code}: {message}")
    if entry.kept:
        when = min(entry.files[path].started for path in entry.kept)
        note(
            f"{len(entry.kept)} of {len(results)} were measured before ({when}); --force measures "
            "them again."
        )
    folder = next(iter(entry.files)).parent
    note(
        "Medians: T_VE and T_total in seconds, S_prompt and S_gen in tokens per second. Every "
        f"sample is in {folder}; `imp-deploy report {folder}` makes a page of it."
    )


def _row(result: Result) -> tuple[str, ...]:
    figures = summary(result.measured)
    size = sum(file.bytes for file in result.bundle.files)
    mark = "emulated " if result.device.emulated else ""
    return (
        f"{mark}{variant_name(result.variant)}{protocol_marks(result)}",
        gib(size),
        *(_digits(figures[name].median) if name in figures else "" for name in METRICS),
        f"{len(result.measured)}/{result.protocol.repetitions}",
    )


def _digits(value: float) -> str:
    """Three or more significant digits, none that mean nothing."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"
