from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imp_deploy import bundle as bundles
from imp_deploy.bundle import Bundle, Variant
from imp_deploy.cli.output import (
    JsonFlag,
    console,
    device_name,
    note,
    print_json,
    progress_bar,
    stderr,
    table,
)
from imp_deploy.runner import Answer

if TYPE_CHECKING:
    from imp_deploy.bench.tune.choice import Choice

HELP = "Answer a question about an image, and show how long each phase took."


def command(
    bundle: Annotated[Path, typer.Argument(help="The folder that `export` wrote.")],
    image: Annotated[Path, typer.Option(help="The picture.")],
    prompt: Annotated[str, typer.Option(help="The question.")],
    bits: Annotated[int | None, typer.Option(show_default="4, or the nearest")] = None,
    resolution: Annotated[int | None, typer.Option(show_default="196, or the nearest")] = None,
    vision_bits: Annotated[
        int | None, typer.Option(show_default="16 with --bits 16, 8 with 8 and 4, or the nearest")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 256,
    threads: Annotated[
        int,
        typer.Option(
            min=0,
            help="0: what `tune` keeps, or all of the machine's; of a phone, one per big core.",
        ),
    ] = 0,
    device: Annotated[
        str, typer.Option(help="host, virtual, adb:SERIAL, tcp:HOST:PORT or usb:SERIAL.")
    ] = "host",
    as_json: JsonFlag = False,
) -> None:
    from imp_deploy.ask import ask as on_host

    device_name(device)
    loaded = bundles.load(bundle)
    variant = bundles.choose(loaded, bits=bits, resolution=resolution, vision_bits=vision_bits)
    emulated = False
    if device == "host":
        with stderr.status(_host_status()):
            found = None if threads else _kept_on_host(loaded, variant)
            answer = on_host(
                bundle,
                loaded,
                variant,
                image=image,
                question=prompt,
                max_tokens=max_tokens,
                threads=threads if found is None else found.threads,
                cpu_mask="" if found is None else found.cpu_mask,
                settings=None if found is None else found.settings,
            )
        if found is not None:
            note("With the settings that `imp-deploy tune` keeps; --threads leaves them aside.")
    else:
        answer, emulated = _on_device(device, bundle, variant, image, prompt, max_tokens, threads)
    if as_json:
        print_json({**to_json(answer, variant), "device": device, "emulated": emulated})
    else:
        _print(answer, variant, emulated=emulated)


def _kept_on_host(bundle: Bundle, variant: Variant) -> Choice | None:
    from imp_deploy.bench import describe, programs
    from imp_deploy.bench.discover import connected
    from imp_deploy.bench.tune import choice
    from imp_deploy.progress import Unseen

    if not choice.any_kept():
        return None
    with connected("host") as host:
        record = describe.describe(host)
    program = programs.program_for(record, Unseen())
    return choice.find(record, bundle, variant, program.sha256)


def _host_status() -> str:
    from imp_deploy.build.host import host_runner

    built = host_runner().is_file()
    return "running ..." if built else "building the runner (once), then running ..."


def _on_device(
    device: str,
    folder: Path,
    variant: Variant,
    image: Path,
    question: str,
    max_tokens: int,
    threads: int,
) -> tuple[Answer, bool]:
    """The answer, and whether the device is emulated."""
    from imp_deploy.bench.discover import connected
    from imp_deploy.bench.remote_ask import ask
    from imp_deploy.bench.session import Session
    from imp_deploy.bench.settings import Settings
    from imp_deploy.bench.subject import prepare

    assert variant.vision.resolution is not None
    settings = Settings(
        bits=(variant.llm.bits,),
        resolutions=(variant.vision.resolution,),
        vision_bits=variant.vision.bits,
        image=image,
        prompt=question,
        threads=threads or None,
        tuned=not threads,
    )
    subject = prepare(folder, settings)
    with progress_bar() as progress, connected(device, note=note) as phone:
        session = Session(phone, note)
        answer, record = ask(session, subject, settings, max_tokens=max_tokens, progress=progress)
    return answer, record.emulated


def to_json(answer: Answer, variant: Variant) -> dict[str, Any]:
    return {
        "text": answer.text.strip(),
        "token_ids": list(answer.token_ids),
        "stop": answer.stop,
        "tokens": dataclasses.asdict(answer.tokens),
        "seconds": dataclasses.asdict(answer.seconds),
        "peak_rss_bytes": answer.peak_rss_bytes,
        "threads": answer.threads,
        "settings": dataclasses.asdict(answer.settings),
        "variant": {
            "bits": variant.llm.bits,
            "resolution": variant.vision.resolution,
            "vision_bits": variant.vision.bits,
        },
    }


def _print(answer: Answer, variant: Variant, *, emulated: bool) -> None:
    console.print(answer.text.strip(), style="bold green", highlight=False)
    seconds, tokens = answer.seconds, answer.tokens
    prompt_tokens = tokens.text + tokens.visual
    shown = table("phase", "tokens", "seconds", "tokens/s")
    if emulated:
        shown.title = "emulated: times mean nothing"
    shown.add_row("vision (T_VE)", str(tokens.visual), f"{seconds.vision:.3f}", "")
    shown.add_row(
        "prompt", str(prompt_tokens), f"{seconds.prompt:.3f}", _rate(prompt_tokens, seconds.prompt)
    )
    # The first token comes from the prompt's logits; the others are a decode each.
    rate = _rate(tokens.generated - 1, seconds.generate)
    shown.add_row("generate", str(tokens.generated), f"{seconds.generate:.3f}", rate)
    shown.add_row("total (T_total)", "", f"{seconds.total:.3f}", "")
    console.print(shown)
    tower = f" (vision {variant.vision.bits})" if variant.vision.bits != 16 else ""
    console.print(
        f"{variant.llm.bits} bits{tower} at {variant.vision.resolution} pixels; loading took "
        f"{seconds.load:.2f} s and is not in the total; the answer ended by {answer.stop}.",
        highlight=False,
        style="dim",
    )


def _rate(tokens: int, seconds: float) -> str:
    return f"{tokens / seconds:.1f}" if seconds > 0 and tokens else ""
