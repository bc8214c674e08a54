"""What is searched, in which order, and which part of the work each setting can change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imp_deploy.bench.describe import cpu_mask
from imp_deploy.bench.tune.choice import Choice
from imp_deploy.results import DeviceRecord
from imp_deploy.runner import RunSettings

ALL: Final = ("vision", "prompt", "generate")

# llama.cpp's default is 512; below 64 a matrix product no longer fills the kernels.
_UBATCHES: Final = (64, 128, 256)


@dataclass(frozen=True)
class Part:
    """Phases whose seconds decide together on some settings; `fields` of `Choice`, or of its
    `settings`."""

    name: str
    phases: tuple[str, ...]
    fields: tuple[str, ...]


_LLM: Final = ("prompt", "generate")


@dataclass(frozen=True)
class Stage:
    """Candidates that are measured together, by turns with the best so far. Each part takes the
    best candidate for itself, as phases do not overlap."""

    name: str
    parts: tuple[Part, ...]
    candidates: Callable[[DeviceRecord, int, Choice], dict[str, Choice]]


def taken(best: Choice, candidate: Choice, part: Part) -> Choice:
    """`best` with what `part` decides on as in `candidate`."""
    own = {f: getattr(candidate, f) for f in part.fields if f in ("threads", "cpu_mask")}
    inner = {f: getattr(candidate.settings, f) for f in part.fields if f not in own}
    return dataclasses.replace(best, **own, settings=dataclasses.replace(best.settings, **inner))


def clusters(device: DeviceRecord) -> tuple[tuple[int, ...], ...]:
    """Sets of cores from the fastest kind on: the fastest, those and the next ones, and so on to
    all. One set where the clocks are not known. Cores that are switched off are in none."""
    known = [core for core in device.cores if core.max_khz] or list(device.cores)
    clocks = sorted({core.max_khz for core in known}, reverse=True)
    return tuple(tuple(c.cpu for c in known if c.max_khz >= clock) for clock in clocks)


def _kernels(_device: DeviceRecord, _tokens: int, best: Choice) -> dict[str, Choice]:
    """Those of the libraries alone: on some processors ours may be slower."""
    return {"stock kernels": _with(best, kernels="stock")}


def _cores(device: DeviceRecord, _tokens: int, best: Choice) -> dict[str, Choice]:
    """The sets of cores other than the present one, a thread on each core. None for emulated
    devices, which have fewer processors than they say, and for the host, whose cores are not told
    apart; a single core is left to the number of threads."""
    if device.emulated or device.kind == "host":
        return {}
    sets = [s for s in clusters(device) if len(s) > 1]
    found = {}
    for cores in sets:
        mask = "" if len(cores) == len(device.cores) else cpu_mask(cores)
        if mask != best.cpu_mask:
            label = f"cores {cpu_mask(cores)}"
            found[label] = dataclasses.replace(best, threads=len(cores), cpu_mask=mask)
    return found


def _threads(device: DeviceRecord, _tokens: int, best: Choice) -> dict[str, Choice]:
    """Fewer threads than now: one less, as many as the faster kinds of cores are, and a half."""
    if device.emulated:
        return {}
    allowed = int(best.cpu_mask, 16) if best.cpu_mask else -1
    cores = [core.cpu for core in device.cores if allowed >> core.cpu & 1]
    now = min(best.threads or len(cores), len(cores))
    fewer = {now - 1, now // 2, *(len(set(s) & set(cores)) for s in clusters(device))}
    return {
        f"threads {count}": dataclasses.replace(
            best,
            settings=dataclasses.replace(
                best.settings,
                threads_vision=count,
                threads_prompt=count,
                threads_generate=count,
            ),
        )
        for count in sorted(fewer, reverse=True)
        if 0 < count < now
    }


def _ubatch(_device: DeviceRecord, tokens: int, best: Choice) -> dict[str, Choice]:
    """Those that cut the longest piece of the prompt, `tokens` long; the others change nothing."""
    return {f"ubatch {size}": _with(best, ubatch=size) for size in _UBATCHES if size < tokens}


def _flash(_device: DeviceRecord, _tokens: int, best: Choice) -> dict[str, Choice]:
    """Off: left to itself, llama.cpp switches it on wherever it can."""
    return {"flash attention off": _with(best, flash_attention="off", flash_attention_vision="off")}


def _cache(_device: DeviceRecord, _tokens: int, best: Choice) -> dict[str, Choice]:
    """8 bits, which need flash attention, and must not change a token."""
    if best.settings.flash_attention == "off":
        return {}
    return {"cache q8_0": _with(best, cache_type="q8_0")}


def _with(best: Choice, **settings: str | int) -> Choice:
    return dataclasses.replace(
        best,
        settings=dataclasses.replace(best.settings, **settings),  # type: ignore[arg-type]
    )


STAGES: Final[tuple[Stage, ...]] = (
    Stage("kernels", (Part("all", ALL, ("kernels",)),), _kernels),
    Stage("cores", (Part("all", ALL, ("threads", "cpu_mask")),), _cores),
    Stage(
        "threads",
        (
            Part("vision", ("vision",), ("threads_vision",)),
            Part("prompt", ("prompt",), ("threads_prompt",)),
            Part("generate", ("generate",), ("threads_generate",)),
        ),
        _threads,
    ),
    Stage("ubatch", (Part("prompt", ("prompt",), ("ubatch",)),), _ubatch),
    Stage(
        "flash attention",
        (
            Part("vision", ("vision",), ("flash_attention_vision",)),
            Part("LLM", _LLM, ("flash_attention",)),
        ),
        _flash,
    ),
    Stage("cache", (Part("LLM", _LLM, ("cache_type",)),), _cache),
)


def names(settings: RunSettings) -> str:
    """What differs from the runner's own settings, for people; "" for nothing."""
    default = RunSettings()
    return ", ".join(
        f"{field.name.replace('_', ' ')} {getattr(settings, field.name)}"
        for field in dataclasses.fields(RunSettings)
        if getattr(settings, field.name) != getattr(default, field.name)
    )
