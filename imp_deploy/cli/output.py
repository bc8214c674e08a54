"""What every command prints with: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from imp_deploy.results import VariantRecord

# Without markup: brackets and colons in names and paths are themselves.
console = Console(markup=False, emoji=False)
stderr = Console(stderr=True, markup=False, emoji=False)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def variant_name(variant: VariantRecord) -> str:
    """`4-bit@196`, and the bits of the vision tower unless it has 16."""
    tower = f" vision {variant.vision_bits}" if variant.vision_bits != 16 else ""
    return f"{variant.bits}-bit@{variant.resolution}{tower}"


def print_json(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    try:
        text.encode(console.encoding)
    except UnicodeEncodeError:
        text = json.dumps(value, indent=1)
    console.file.write(text + "\n")


def note(text: str) -> None:
    stderr.print(text, style="dim", highlight=False)


Counted = Literal["bytes", "steps"]


class _Counts(ProgressColumn):
    """How much of the whole is done: bytes with their rate, or a number of steps."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = (DownloadColumn(binary_units=True), TransferSpeedColumn())
        self._steps = MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        if task.fields["of"] == "steps":
            return self._steps.render(task)
        return Text(" ").join(column.render(task) for column in self._bytes)


class Bar:
    """A progress bar per phase, on terminals only; `imp_deploy.progress.Stages`."""

    def __init__(self, progress: Progress, of: Counted) -> None:
        self._progress = progress
        self._of = of
        self._task: TaskID | None = None

    def start(self, phase: str, total: int) -> None:
        self._task = self._progress.add_task(phase, total=total, of=self._of)

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, count)

    def describe(self, text: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, description=text)


class Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def bar(self, of: Counted) -> Bar:
        return Bar(self._progress, of)


@contextmanager
def progress_bars() -> Iterator[Bars]:
    columns = (TextColumn("{task.description}"), BarColumn(), _Counts(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as progress:
        yield Bars(progress)


@contextmanager
def progress_bar(of: Counted = "bytes") -> Iterator[Bar]:
    with progress_bars() as bars:
        yield bars.bar(of)


def table(*columns: str, title: str | None = None) -> Table:
    """A table that folds its first column, the names, where it does not fit: a name that is cut
    cannot be used, and a number that is folded cannot be read."""
    made = Table(title=title)
    first, *others = columns
    made.add_column(first, overflow="fold")
    for column in others:
        made.add_column(column, no_wrap=True)
    return made


def gib(count: int) -> str:
    """Bytes for people."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"


def device_name(name: str) -> str:
    """A `--device` as it stands; one that has none of the forms is wrong usage."""
    from imp_deploy.bench.discover import FORMS, well_formed

    if not well_formed(name):
        raise typer.BadParameter(
            f"{name!r} names no device; give {FORMS} (`imp-deploy devices` lists them)",
            param_hint="--device",
        )
    return name


def numbers(text: str | None, allowed: tuple[int, ...] | None, option: str) -> tuple[int, ...]:
    """`"16,8,4"` as integers; wrong ones are wrong usage."""
    values = []
    for part in (text or "").split(","):
        try:
            value = int(part)
        except ValueError:
            raise typer.BadParameter(f"{part!r} is not a number", param_hint=option) from None
        if value <= 0 or (allowed is not None and value not in allowed):
            raise typer.BadParameter(
                f"{value} is not one of {', '.join(map(str, allowed or ()))}"
                if allowed
                else f"{value} is not positive",
                param_hint=option,
            )
        values.append(value)
    return tuple(dict.fromkeys(values))
