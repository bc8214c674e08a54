"""What a user may ask of a measurement, and the protocol that follows on one device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imp_deploy.bench.describe import big_cores, cpu_mask
from imp_deploy.errors import BadInput
from imp_deploy.results import DeviceRecord, Protocol

# arXiv 2405.12107v2, Table 4: 41 text tokens in every prompt, generation up to the 64th token
# whatever the model says. Warm-ups and repetitions are not stated there; these are ours.
PAPER_TEXT_TOKENS = 41
PAPER_GENERATED_TOKENS = 64
WARMUPS = 1
REPETITIONS = 5

DEFAULT_PROMPT = "What is in the picture?"
DEFAULT_COOLDOWN = 40.0  # degrees Celsius; a phone at rest is at 30 to 38
DEFAULT_COOLDOWN_SECONDS = 60.0
DEFAULT_TIMEOUT = 900.0
SAMPLE_MILLISECONDS = 200


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`bits`, `resolutions`, `vision_bits` None: all in the bundle (vision: the tower that goes
    with the language model's bits, or the nearest). `prompt`, `image` None: the built-in ones.
    `text_tokens` None: the paper's 41, or the prompt's own length where `prompt` is given.
    `threads` None and `cpu_mask` None: the big cores (one thread on emulated phones). `cooldown`
    in degrees Celsius, 0 for no rest; None: 40 on phones, none on the host. `timeout` in seconds,
    for one repetition. `ndk`: the runner that `build android-ndk` made. `cached_text`: the text
    before the image is in the cache before each repetition begins. `tuned`: with the settings that
    `tune` keeps of the device and the variant."""

    bits: tuple[int, ...] | None = None
    resolutions: tuple[int, ...] | None = None
    vision_bits: int | None = None
    prompt: str | None = None
    image: Path | None = None
    text_tokens: int | None = None
    generated_tokens: int = PAPER_GENERATED_TOKENS
    warmups: int = WARMUPS
    repetitions: int = REPETITIONS
    threads: int | None = None
    cpu_mask: str | None = None
    cooldown: float | None = None
    cooldown_seconds: float = DEFAULT_COOLDOWN_SECONDS
    timeout: float = DEFAULT_TIMEOUT
    ndk: bool = False
    cached_text: bool = False
    tuned: bool = False

    @property
    def question(self) -> str:
        return DEFAULT_PROMPT if self.prompt is None else self.prompt


def protocol_for(settings: Settings, record: DeviceRecord, image_sha256: str) -> Protocol:
    """How a bundle is measured on the device of `record`."""
    text_tokens = settings.text_tokens
    if text_tokens is None and settings.prompt is None:
        text_tokens = PAPER_TEXT_TOKENS
    threads, mask = cores_for(settings.threads, settings.cpu_mask, record)
    cooldown = settings.cooldown
    if cooldown is None:
        cooldown = 0.0 if record.kind == "host" else DEFAULT_COOLDOWN
    lengths = (text_tokens, settings.generated_tokens)
    counts_suffice = settings.warmups >= WARMUPS and settings.repetitions >= REPETITIONS
    same = lengths == (PAPER_TEXT_TOKENS, PAPER_GENERATED_TOKENS) and not settings.cached_text
    paper = same and counts_suffice
    return Protocol(
        name="paper" if paper else "custom",
        text_tokens=text_tokens,
        generated_tokens=settings.generated_tokens,
        warmups=settings.warmups,
        repetitions=settings.repetitions,
        threads=threads,
        cpu_mask=mask,
        cooldown_celsius=cooldown or None,
        cooldown_seconds=settings.cooldown_seconds if cooldown else 0.0,
        sample_milliseconds=SAMPLE_MILLISECONDS,
        prompt=settings.question,
        image_sha256=image_sha256,
        cached_text=settings.cached_text,
    )


def cores_for(wanted: int | None, wanted_mask: str | None, record: DeviceRecord) -> tuple[int, str]:
    """Number of threads (0: one per core of the mask) and the mask ("" for all cores). More threads
    than big cores get all cores; the host's cores are not told apart."""
    threads = wanted or 0
    if wanted_mask is not None:
        return threads, _checked_mask(wanted_mask, record)
    if record.kind == "host":
        return threads, ""
    big = big_cores(record)
    if threads > len(big):
        return threads, ""
    # An emulated phone has fewer processors than it says, and threads without one of their own
    # wait for each other a hundred times longer than they compute.
    return threads or (1 if record.emulated else len(big)), cpu_mask(big)


def _checked_mask(text: str, record: DeviceRecord) -> str:
    try:
        mask = int(text, 16)
    except ValueError:
        mask = 0
    cores = sum(1 << core.cpu for core in record.cores)
    if mask <= 0 or mask & ~cores:
        raise BadInput(
            f"The CPU mask {text!r} names no set of the device's {len(record.cores)} cores; give "
            f"hexadecimal digits between 1 and {cores:x}."
        )
    return f"{mask:x}"
