from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imp_deploy.cli.output import (
    JsonFlag,
    console,
    device_name,
    note,
    print_json,
    progress_bars,
    stderr,
    table,
)

if TYPE_CHECKING:
    from imp_deploy.bench.tune.choice import Choice, Verdict
    from imp_deploy.bench.tune.search import Found

HELP = (
    "Search the settings that make a variant faster on a device: kernels, cores, threads of each "
    "phase, batches, flash attention, the cache's type. None is taken that changes a token of the "
    "answer it is tried on. The choice is kept for `run`, `bench --tuned` and `eval --tuned`. An "
    "interrupted search goes on when the same command is given again."
)


def command(
    bundle: Annotated[Path, typer.Argument(help="The folder that `export` wrote.")],
    device: Annotated[
        str | None,
        typer.Option(
            help="adb:SERIAL, tcp:HOST:PORT, usb:SERIAL, virtual or host.",
            show_default="the one phone there is",
        ),
    ] = None,
    bits: Annotated[int | None, typer.Option(show_default="4, or the nearest")] = None,
    resolution: Annotated[int | None, typer.Option(show_default="196, or the nearest")] = None,
    vision_bits: Annotated[
        int | None, typer.Option(show_default="16 with --bits 16, 8 with 8 and 4, or the nearest")
    ] = None,
    repetitions: Annotated[
        int, typer.Option(min=1, help="Of each candidate; fewer than 3 decide nothing.")
    ] = 5,
    max_tokens: Annotated[
        int, typer.Option(min=2, help="Tokens to generate, whatever the model says.")
    ] = 64,
    cooldown: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help="Rest before each run until the processor is below so many °C; 0: none.",
            show_default="40; host: 0",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, max=86400, help="Seconds until a run counts as hung.")
    ] = 900.0,
    force: Annotated[bool, typer.Option("--force", help="Search anew.")] = False,
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.bench.carry_out import Shown
    from imp_deploy.bench.discover import choose, connected
    from imp_deploy.bench.session import Session
    from imp_deploy.bench.settings import Settings
    from imp_deploy.bench.subject import prepare
    from imp_deploy.bench.tune.search import tune

    if any(math.isnan(value) for value in (cooldown or 0.0, timeout)):
        raise typer.BadParameter("nan is no number of seconds or degrees")
    (name,) = choose([] if device is None else [device_name(device)])
    settings = Settings(
        **_variant(bundle, bits, resolution, vision_bits),
        generated_tokens=max_tokens,
        warmups=0,
        repetitions=repetitions,
        cooldown=cooldown,
        timeout=timeout,
    )
    with stderr.status("checking the bundle ..."):
        subject = prepare(bundle, settings)
    with progress_bars() as bars, connected(name, note=note) as reached:
        shown = Shown(pushing=bars.bar("bytes"), measuring=bars.bar("steps"), say=note)
        found = tune(Session(reached, note), subject, settings, force=force, shown=shown)
    if as_json:
        print_json(to_json(found, name))
    else:
        _print(found, name)


def _variant(
    folder: Path, bits: int | None, resolution: int | None, vision_bits: int | None
) -> dict[str, Any]:
    """One variant, by what it is made of."""
    from imp_deploy import bundle as bundles

    loaded = bundles.load(folder)
    chosen = bundles.choose(loaded, bits=bits, resolution=resolution, vision_bits=vision_bits)
    return {
        "bits": (chosen.llm.bits,),
        "resolutions": (chosen.vision.resolution,),
        "vision_bits": chosen.vision.bits,
    }


def to_json(found: Found, name: str) -> dict[str, Any]:
    from imp_deploy.bench.tune.choice import to_json as values
    from imp_deploy.bench.tune.search import total_saved

    return {
        "device": name,
        "emulated": found.device.emulated,
        "file": str(found.path),
        "kept": found.kept,
        "changed": found.tuned.changed,
        "total_saved": total_saved(found.tuned),
        "tuning": values(found.tuned),
    }


def _print(found: Found, name: str) -> None:
    from imp_deploy.bench.tune.search import total_saved

    tuned, device = found.tuned, found.device
    model = " ".join(word for word in (device.manufacturer, device.model) if word)
    mark = "emulated " if device.emulated else ""
    variant = f"{tuned.bits}-bit@{tuned.resolution}"
    shown = table(
        *("candidate", "phase", "seconds", "change", "logits", "verdict"),
        title=f"{tuned.key.bundle} {variant} on {name}: {mark}{model}",
    )
    for trial in tuned.trials:
        logits = "" if trial.logit_difference is None else f"{trial.logit_difference:.2g}"
        for verdict in trial.verdicts:
            shown.add_row(trial.label, verdict.part, *_times(verdict), logits, _word(verdict))
    if shown.row_count:
        console.print(shown)
    else:
        console.print("There was nothing to choose from.", highlight=False)
    for trial in tuned.trials:
        for reason in dict.fromkeys(v.reason for v in trial.verdicts if _word(v) == "rejected"):
            note(f"{trial.label}: {reason}.")
    console.print(f"Chosen: {_text(tuned.chosen, tuned.default)}.", highlight=False)
    saved = total_saved(tuned)
    if saved is not None:
        console.print(f"T_total is {saved:.1%} less than with the defaults.", highlight=False)
    if device.emulated:
        note("The device is emulated: its times mean nothing, and so does the choice.")
    if found.kept:
        note(f"It was found before ({tuned.started}); --force searches anew.")
    note(
        "Seconds are medians of the best so far and of the candidate; logits: the largest absolute "
        "difference from the default's."
    )
    note(f"Kept in {found.path}; `run` and `bench --tuned` use it on this device.")


def _times(verdict: Verdict) -> tuple[str, str]:
    """Medians beside each other, of the best so far and of the candidate, and the change."""
    if verdict.before is None or verdict.after is None:
        return "", ""
    change = verdict.after / verdict.before - 1 if verdict.before > 0 else 0.0
    return f"{verdict.before:.3f} → {verdict.after:.3f}", f"{change:+.1%}"


def _word(verdict: Verdict) -> str:
    return "rejected" if verdict.answer in ("changed", "failed") else verdict.answer


def _text(chosen: Choice, default: Choice) -> str:
    from imp_deploy.bench.tune.stages import names

    if chosen == default:
        return "the defaults"
    parts = []
    if (chosen.threads, chosen.cpu_mask) != (default.threads, default.cpu_mask):
        parts.append(f"{chosen.threads or 'all'} threads on cores {chosen.cpu_mask or 'all'}")
    if inner := names(chosen.settings):
        parts.append(inner)
    return ", ".join(parts)
