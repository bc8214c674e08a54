"""What a check compares: the figures of a candidate, which are also what a baseline holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from imp_deploy import quality, results
from imp_deploy.bundle import Bundle
from imp_deploy.evaluation import Evaluation, TaskRecord
from imp_deploy.quality import Item, Quality
from imp_deploy.results import DeviceRecord, Protocol, Result, RunnerRecord, VariantRecord

Key = tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Size:
    """One file of a bundle; its name does not matter. `resolution`: None for an LLM."""

    bundle: str
    role: Literal["llm", "vision"]
    bits: int
    resolution: int | None
    bytes: int

    @property
    def key(self) -> Key:
        return (self.bundle, self.role, self.bits, self.resolution)

    @property
    def subject(self) -> str:
        if self.role == "llm":
            return f"{self.bundle} LLM {self.bits}-bit"
        return f"{self.bundle} vision@{self.resolution} {self.bits}-bit"


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """One evaluation. `device`: "host", or the model of another device. `value` of `most`: the
    task's own score, None without one. `answered`: how many of `task.asked`."""

    bundle: str
    variant: VariantRecord
    device: str
    task: TaskRecord
    max_tokens: int
    metric: str
    value: float | None
    most: float
    answered: int
    complete: bool
    marks: dict[str, float]

    @property
    def key(self) -> Key:
        task = self.task
        return (self.bundle, self.variant, self.device, task.name, task.split)

    @property
    def subject(self) -> str:
        where = "" if self.device == "host" else f" on {self.device}"
        return f"{named(self.bundle, self.variant)} {self.task.name}/{self.task.split}{where}"


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """`imp_deploy.quality.Item` in short: `agree` a 1 or a 0 per position, `lost` the reference's
    log-probability minus the variant's, in nats; `cosine` the worst and the mean."""

    kl: tuple[float, ...]
    agree: str
    lost: tuple[float, ...]
    cosine: tuple[float, ...]

    def item(self, name: str) -> Item:
        return Item(
            id=name,
            kl=self.kl,
            agree=tuple(c == "1" for c in self.agree),
            reference_log_p=self.lost,
            log_p=(0.0,) * len(self.lost),
            worst_cosine=self.cosine[0],
            mean_cosine=self.cosine[1],
        )


@dataclass(frozen=True, kw_only=True)
class Intrinsic:
    """One measurement of quality. `reference_sha256`: of the reference's files, sorted;
    `pictures_sha256`: "" where it is not known."""

    bundle: str
    variant: VariantRecord
    task: TaskRecord
    reference: VariantRecord
    reference_sha256: tuple[str, ...]
    pictures_sha256: str
    max_tokens: int
    items: dict[str, Divergence]

    @property
    def key(self) -> Key:
        return (self.bundle, self.variant, self.task.name, self.task.split)

    @property
    def subject(self) -> str:
        return f"{named(self.bundle, self.variant)} {self.task.name}/{self.task.split}"

    def metrics(self) -> dict[str, float]:
        return quality.metrics([item.item(name) for name, item in self.items.items()])


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What of a device must be the same for its speeds to be compared."""

    kind: results.Kind
    serial: str
    model: str
    soc: str
    fingerprint: str
    emulated: bool


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One result of `bench`. `samples`: the measured ones, by metric."""

    bundle: str
    variant: VariantRecord
    device: Measured
    runner: RunnerRecord
    protocol: Protocol
    complete: bool
    samples: dict[str, tuple[float, ...]]

    @property
    def key(self) -> Key:
        return (*self.place, self.device.serial, *self._marks)

    @property
    def _marks(self) -> tuple[bool, bool]:
        """What makes a measurement of the same variant another one: text in the cache, and tuned
        settings."""
        return self.protocol.cached_text, self.protocol.settings is not None

    @property
    def place(self) -> Key:
        """The key without the device and the marks."""
        return (self.bundle, self.variant)

    @property
    def subject(self) -> str:
        where = "host" if self.device.kind == "host" else self.device.model
        cached, tuned = self._marks
        marks = (", text cached" if cached else "") + (", tuned" if tuned else "")
        return f"{named(self.bundle, self.variant)} on {where}{marks}"


@dataclass(frozen=True, kw_only=True)
class Figures:
    size: tuple[Size, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    quality: tuple[Intrinsic, ...] = ()
    speed: tuple[Speed, ...] = ()


Kind = Literal["size", "accuracy", "quality", "speed"]
KINDS: tuple[Kind, ...] = ("size", "accuracy", "quality", "speed")


def named(bundle: str, variant: VariantRecord) -> str:
    vision = "" if variant.vision_bits == 16 else f" vision {variant.vision_bits}-bit"
    return f"{bundle} {variant.bits}-bit@{variant.resolution}{vision}"


def of_bundle(bundle: Bundle) -> tuple[Size, ...]:
    return tuple(
        Size(bundle=bundle.name, role=f.role, bits=f.bits, resolution=f.resolution, bytes=f.bytes)
        for f in bundle.files
    )


def of_evaluation(evaluation: Evaluation, answered: int) -> Accuracy:
    score = evaluation.score
    return Accuracy(
        bundle=evaluation.bundle.name,
        variant=evaluation.variant,
        device=_place(evaluation.device),
        task=evaluation.task,
        max_tokens=evaluation.protocol.max_tokens,
        metric=score.metric if score else "accuracy",
        value=score.value if score else None,
        most=score.most if score else 100.0,
        answered=answered,
        complete=evaluation.complete,
        marks=evaluation.marks,
    )


def of_quality(measured: Quality) -> Intrinsic:
    """Divergences to five significant digits, cosines to seven decimals: more would make a
    baseline longer and no comparison better."""
    return Intrinsic(
        bundle=measured.bundle.name,
        variant=measured.variant,
        task=measured.task,
        reference=measured.reference,
        reference_sha256=tuple(sorted(f.sha256 for f in measured.reference_bundle.files)),
        pictures_sha256=measured.pictures_sha256,
        max_tokens=measured.max_tokens,
        items={item.id: _short(item) for item in measured.items},
    )


def of_result(result: Result) -> Speed:
    device = result.device
    rows = [results.metrics(sample) for sample in result.measured]
    return Speed(
        bundle=result.bundle.name,
        variant=result.variant,
        device=Measured(
            kind=device.kind,
            serial=device.serial,
            model=device.model,
            soc=device.soc,
            fingerprint=device.fingerprint,
            emulated=device.emulated,
        ),
        runner=result.runner,
        protocol=result.protocol,
        complete=result.complete,
        samples={m: tuple(_round(row[m], 6) for row in rows) for m in results.METRICS},
    )


def _place(device: DeviceRecord) -> str:
    """Any host is as good as another for answers: they do not depend on its speed."""
    return "host" if device.kind == "host" else device.model


def _short(item: Item) -> Divergence:
    lost = (a - b for a, b in zip(item.reference_log_p, item.log_p, strict=True))
    return Divergence(
        kl=tuple(_round(v, 5) for v in item.kl),
        agree="".join("01"[same] for same in item.agree),
        lost=tuple(_round(v, 5) for v in lost),
        cosine=(round(item.worst_cosine, 7), round(item.mean_cosine, 7)),
    )


def _round(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
