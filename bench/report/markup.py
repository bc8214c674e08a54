"""HTML and SVG as text in which everything from outside is escaped.

`Markup` is text that is markup already; only `words` and `tag` make it, so that the type checker
finds a string that was not escaped.
"""

from __future__ import annotations

from html import escape
from typing import NewType

Markup = NewType("Markup", str)

_VOID = frozenset({"meta", "br", "rect", "line", "polyline", "wbr"})


def words(text: object) -> Markup:
    """`text` escaped; control characters, which no HTML or XML may hold, become U+FFFD."""
    shown = "".join(c if _allowed(c) else "\ufffd" for c in str(text))
    return Markup(escape(shown, quote=True))


def _allowed(character: str) -> bool:
    code = ord(character)
    return character in "\n\t" or (code >= 32 and not 0x7F <= code <= 0x9F and code & ~1 != 0xFFFE)


def tag(name: str, /, *children: Markup, **attributes: object) -> Markup:
    """An element. Attributes that are None are left out; `class_` is `class`, and other underscores
    are hyphens. Floats are coordinates, with three decimals at most."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{words(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{''.join(children)}</{name}>")


def _number(value: object) -> object:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def percent_of(value: float, whole: float) -> str:
    """A coordinate as a share of the picture's width, which is not known when it is drawn."""
    return f"{100 * value / whole if whole else 0:.3f}%"


def together(*parts: Markup) -> Markup:
    return Markup("".join(parts))
