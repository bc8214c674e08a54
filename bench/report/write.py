"""From result files to a report in one of its forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from imp_deploy.bench.report import markdown, page, table_csv
from imp_deploy.bench.report.contents import Contents, contents
from imp_deploy.bench.report.read import read
from imp_deploy.bench.report.records import evaluations, qualities, records
from imp_deploy.bench.report.rows import Group, differences
from imp_deploy.errors import BadInput
from imp_deploy.files import write_atomic

Form = Literal["md", "html", "csv"]
_FORMS: Final = {"md": markdown.render, "html": page.render, "csv": table_csv.render}


def gather(places: Sequence[Path], *, note: Callable[[str], None] | None = None) -> Contents:
    """What is in files and folders, joined by the files that it is of, in groups that may be
    compared. `note` is told about files that were left out."""
    return contents(read(places, note=note))


def render(shown: Contents, form: Form) -> str:
    return _FORMS[form](shown)


def to_json(shown: Contents) -> dict[str, Any]:
    """`rows`: flat objects, as the lines of the CSV. `groups`: which rows may be compared, and
    what keeps a group apart from the first one of its kind. `evaluations` and `quality`: what else
    was read, in full but for its single questions."""
    firsts: dict[str, Group] = {}
    described = []
    for each in shown.groups:
        first = firsts.setdefault(each.standing, each)
        apart = {k: [a, b] for k, a, b in differences(first, each)}
        described.append(
            {
                "group": each.number,
                "standing": each.standing,
                "hardware": each.hardware,
                "differs_from": None if each is first else first.number,
                "differences": apart,
            }
        )
    return {
        "groups": described,
        "rows": records(shown),
        "evaluations": evaluations(shown.answers),
        "quality": qualities(d for variant in shown.variants for d in variant.distances),
    }


def save(path: Path, text: str, *, force: bool) -> bool:
    """Writes the report; False when `path` holds this very text already. Another file there is
    `BadInput` without `force`."""
    content = text.encode()
    if path.is_dir():
        raise BadInput(f"{path} is a folder; give --out the name of a file.")
    if not path.parent.is_dir():
        raise BadInput(f"{path.parent} is no folder; create it, or give --out another place.")
    if path.exists():
        try:
            if path.read_bytes() == content:
                return False
        except OSError as error:
            raise BadInput(
                f"{path} cannot be read ({error.strerror}); give --out another place."
            ) from None
        if not force:
            raise BadInput(f"{path} exists; give --force to overwrite it, or --out another place.")
    write_atomic(path, content)
    return True
