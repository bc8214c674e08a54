"""Types for single tensors of the 4-bit language model, as `llama-quantize --tensor-type` has them:
a regular expression that is looked for in the tensor's name, and a type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gguf import GGMLQuantizationType

from imp_deploy.convert.quantization import block_of, fits
from imp_deploy.errors import BadInput

TYPES = {
    kind.name: kind
    for kind in (
        GGMLQuantizationType.F16,
        GGMLQuantizationType.Q8_0,
        GGMLQuantizationType.Q6_K,
        GGMLQuantizationType.Q5_K,
        GGMLQuantizationType.Q5_0,
        GGMLQuantizationType.Q4_K,
        GGMLQuantizationType.Q4_1,
        GGMLQuantizationType.Q4_0,
    )
}


@dataclass(frozen=True)
class Override:
    """`pattern`: case does not matter, as in `llama-quantize`."""

    pattern: str
    type: GGMLQuantizationType

    def __str__(self) -> str:
        return f"{self.pattern}={self.type.name}"


def parse(text: str) -> Override:
    """`PATTERN=TYPE`; anything else is a `ValueError` that says what is wrong."""
    pattern, equals, kind = text.rpartition("=")
    if not equals or not pattern:
        raise ValueError(f"{text!r} is not of the form PATTERN=TYPE")
    if kind.upper() not in TYPES:
        raise ValueError(f"{kind!r} is not one of {', '.join(TYPES)}")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
    return Override(pattern, TYPES[kind.upper()])


def chosen_types(
    overrides: Sequence[Override], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, GGMLQuantizationType]:
    """The types of the tensors that `overrides` name; of several that fit, the first counts.

    `shapes`: of the file's tensors by name. Vectors have no type to choose. An override that does
    nothing is bad input, and so is a type whose blocks do not fill the rows, for which
    `llama-quantize` would take another one.
    """
    chosen: dict[str, GGMLQuantizationType] = {}
    for override in overrides:
        regex = re.compile(override.pattern, re.IGNORECASE)
        named = [name for name in shapes if regex.search(name)]
        matrices = [name for name in named if len(shapes[name]) > 1]
        taken = [name for name in matrices if name not in chosen]
        if not taken:
            raise BadInput(
                f"--override {override} {_why_nothing(named, matrices)}; check the names with "
                "`imp-deploy inspect` on an exported language model."
            )
        for name in taken:
            _check_rows(override, name, shapes[name][-1])
            chosen[name] = override.type
    return chosen


def _why_nothing(named: Sequence[str], matrices: Sequence[str]) -> str:
    if matrices:
        return f"names only tensors that an earlier --override names too ({matrices[0]})"
    if named:
        return f"names only vectors, which stay F32 ({named[0]})"
    return "names no tensor of the language model"


def _check_rows(override: Override, name: str, columns: int) -> None:
    if not fits(override.type, columns):
        raise BadInput(
            f"--override {override} does not fit {name}, whose rows of {columns} are not whole "
            f"blocks of {block_of(override.type)}; choose a type with smaller blocks (Q8_0, Q5_0, "
            "Q4_0), or F16."
        )
