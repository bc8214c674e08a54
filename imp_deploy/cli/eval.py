from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.padding import Padding

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

if TYPE_CHECKING:
    from imp_deploy.bench.tasks.task import Task
    from imp_deploy.bundle import Bundle, Variant
    from imp_deploy.evaluation import Evaluation

HELP = (
    "Ask a bundle the questions of a benchmark, on this machine or a phone, and score the answers "
    "by the benchmark's official rules. An interrupted evaluation goes on when the same command is "
    "given again."
)


def command(
    bundle: Annotated[
        Path | None, typer.Argument(help="The folder that `export` wrote.", show_default=False)
    ] = None,
    task: Annotated[str | None, typer.Option(help="The benchmark; `--list` shows all.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="The folder with the benchmark's files.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Part of the benchmark.", show_default="the one there is")
    ] = None,
    bits: Annotated[str, typer.Option(help="Language models, as 16,8,4.")] = "4",
    resolution: Annotated[
        str | None,
        typer.Option(help="Pixels, as 384,196.", show_default="196, or the nearest"),
    ] = None,
    vision_bits: Annotated[
        int | None, typer.Option(show_default="16 with --bits 16, 8 with 8 and 4, or the nearest")
    ] = None,
    device: Annotated[
        str, typer.Option(help="host, virtual, adb:SERIAL, tcp:HOST:PORT or usb:SERIAL.")
    ] = "host",
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Ask a stratified sample of so many questions.", show_default="all"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that sample.")] = 0,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer.", show_default="the task's")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=512, show_default="all of this machine's, or one per big core"),
    ] = None,
    cpu_mask: Annotated[
        str | None, typer.Option(help="Cores, hexadecimal.", show_default="the big cores")
    ] = None,
    tuned: Annotated[
        bool, typer.Option("--tuned", help="With the settings that `tune` keeps of the device.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for answers and scores.")] = Path(
        "eval-results"
    ),
    list_tasks: Annotated[
        bool, typer.Option("--list", help="Show the tasks and the files that they need.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Ask everything anew.")] = False,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.bench.evaluate.evaluate import Asking, evaluate
    from imp_deploy.bench.evaluate.selection import select
    from imp_deploy.bench.tasks.table import TASKS
    from imp_deploy.bench.tasks.table import task as task_called

    if list_tasks:
        _list(list(TASKS.values()), as_json=as_json)
        return
    if bundle is None:
        raise typer.BadParameter("give the folder that `export` wrote", param_hint="BUNDLE")
    if task is None:
        raise typer.BadParameter(f"give one of {', '.join(TASKS)}", param_hint="--task")
    device_name(device)
    if tuned and (threads is not None or cpu_mask is not None):
        raise typer.BadParameter("--tuned brings its own --threads and --cpu-mask")
    sides = None if resolution is None else numbers(resolution, None, "--resolution")
    wanted = numbers(bits, None, "--bits"), sides
    with stderr.status("reading the benchmark and checking the bundle ..."):
        chosen = task_called(task)
        selection = select(chosen, data, split=split, limit=limit, seed=seed)
        loaded, variants = _variants(bundle, *wanted, vision_bits)
    asking = Asking(
        folder=bundle,
        bundle=loaded,
        selection=selection,
        max_tokens=max_tokens,
        threads=threads,
        cpu_mask=cpu_mask,
        tuned=tuned,
    )
    found: list[tuple[Path, Evaluation]] = []
    try:
        with _session(device) as (session, shown):
            for variant in variants:
                done = evaluate(session, asking, variant, out=out, force=force, shown=shown())
                found.append(done)
    finally:
        if found and not as_json:
            print_evaluations(found)
    if as_json:
        print_json({"evaluations": [to_json(*one) for one in found]})


def _variants(
    folder: Path,
    bits: tuple[int, ...],
    resolutions: tuple[int, ...] | None,
    vision_bits: int | None,
) -> tuple[Bundle, list[Variant]]:
    """Their files must be as they were exported: an answer says which files gave it."""
    from imp_deploy import bundle as bundles

    loaded = bundles.load(folder)
    variants = [
        bundles.choose(loaded, bits=b, resolution=r, vision_bits=vision_bits)
        for r in resolutions or (None,)
        for b in bits
    ]
    bundles.require_unchanged(folder, variants)
    return loaded, variants


@contextmanager
def _session(device: str) -> Iterator[tuple[Any, Any]]:
    from imp_deploy.bench.discover import connected
    from imp_deploy.bench.evaluate.evaluate import Shown
    from imp_deploy.bench.session import Session

    with progress_bars() as bars, connected(device, note=note) as reached:
        yield (
            Session(reached, note),
            lambda: Shown(pushing=bars.bar("bytes"), answering=bars.bar("steps")),
        )


def to_json(path: Path, evaluation: Evaluation) -> dict[str, Any]:
    from imp_deploy.evaluation import answers_path

    score = evaluation.score
    return {
        "file": str(path),
        "answers": str(answers_path(path)),
        "task": dataclasses.asdict(evaluation.task),
        "variant": dataclasses.asdict(evaluation.variant),
        "device": evaluation.device.kind,
        "emulated": evaluation.device.emulated,
        "complete": evaluation.complete,
        "seconds": evaluation.seconds,
        "score": None if score is None else dataclasses.asdict(score),
        "submission": evaluation.submission,
    }


def print_evaluations(found: list[tuple[Path, Evaluation]]) -> None:
    """All of the same questions, asked of variants of one bundle."""
    first = found[0][1]
    record = first.task
    count = str(record.asked) if record.seed is None else f"{record.asked} of {record.questions}"
    title = f"{first.bundle.name}: {record.title}, {record.split}, {count} questions"
    metric = next((e.score.metric for _, e in found if e.score is not None), "score")
    shown = table("variant", "size", metric, "95 % interval", title=title)
    for _, evaluation in found:
        score = evaluation.score
        size = sum(file.bytes for file in evaluation.bundle.files)
        shown.add_row(
            variant_name(evaluation.variant),
            gib(size),
            "" if score is None else f"{score.value:.1f}" + (" %" if score.most == 100 else ""),
            "" if score is None else f"{score.low:.1f} to {score.high:.1f}",
        )
    console.print(shown)
    if record.warning:
        note(record.warning)
    for path, evaluation in found:
        if evaluation.score is not None and evaluation.score.parts:
            parts = ", ".join(f"{k} {v:.1f}" for k, v in evaluation.score.parts.items())
            note(f"{variant_name(evaluation.variant)}: {parts}")
        if evaluation.submission is not None:
            note(
                f"{record.title} is scored elsewhere: {path.parent / evaluation.submission} is the "
                "file to hand in."
            )
        elif evaluation.score is None:
            whole = "" if record.seed is None else " Only a whole split can be handed in."
            note(f"{path} has every answer; there is no score for {record.title}.{whole}")
    note(f"Every answer is in {found[0][0].parent}.")


def _list(tasks: list[Task], *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "tasks": [
                    {"name": t.name, "title": t.title, "metric": t.metric, "data": t.data}
                    for t in tasks
                ]
            }
        )
        return
    for each in tasks:
        console.print(f"{each.name}: {each.title}, {each.metric}", style="bold", highlight=False)
        console.print(Padding(each.data, (0, 0, 0, 4)), highlight=False)
