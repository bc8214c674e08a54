"""Reads JSON objects from outside into frozen dataclasses, strictly: unknown keys, missing keys and
values of another type are bad input."""

from __future__ import annotations

import dataclasses
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from imp_deploy.errors import BadInput

LARGEST = 2**53  # beyond, JSON readers disagree about numbers
T = TypeVar("T")


def parse(kind: type[T], value: Any, where: str, cure: str) -> T:
    """`value`, as `json` read it, as the dataclass `kind`. `where` names it in errors, `cure` ends
    their sentence. Fields may be of type str, bool, int, float, Literal, dataclass, tuple[X, ...],
    dict[str, X], or a union of one of these with None; JSON's lists stand for tuples, and its
    integers also for floats."""
    need_keys(kind, value, where, cure)
    hints = get_type_hints(kind)
    return kind(**{k: _value(hints[k], v, f"{where}: {k}", cure) for k, v in value.items()})


def require_schema(value: dict[str, Any], wanted: int, where: str, cure: str) -> None:
    """That the document's `schema` is the one that this version reads; True is no 1."""
    schema = value.get("schema")
    if type(schema) is not int or schema != wanted:
        raise BadInput(f"{where} has schema {schema!r} and this version reads {wanted}; {cure}.")


def need_keys(kind: type[Any], value: Any, where: str, cure: str) -> None:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if not isinstance(value, dict):
        raise BadInput(f"{where} is not an object; {cure}.")
    if unknown := sorted(set(value) - set(fields)):
        raise BadInput(f"{where} has unknown keys {unknown}; {cure}.")
    required = {n for n, f in fields.items() if _has_no_default(f)}
    if missing := sorted(required - set(value)):
        raise BadInput(f"{where} lacks {missing}; {cure}.")


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _value(hint: Any, value: Any, where: str, cure: str) -> Any:
    kind, options = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        if value is None and NoneType in options:
            return None
        (hint,) = (option for option in options if option is not NoneType)
        return _value(hint, value, where, cure)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return parse(hint, value, where, cure)
    if kind is tuple and isinstance(value, list):
        return tuple(_value(options[0], v, f"{where}[{i}]", cure) for i, v in enumerate(value))
    if kind is dict and isinstance(value, dict):
        return {k: _value(options[1], v, f"{where}[{k}]", cure) for k, v in value.items()}
    if not _fits(value, hint):
        raise BadInput(f"{where} is {repr(value)[:60]}, which it cannot be; {cure}.")
    return value


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return any(type(value) is type(option) and value == option for option in get_args(hint))
    if hint is float:
        return type(value) in (int, float) and abs(value) < LARGEST
    return type(value) is hint
