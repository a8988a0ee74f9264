"""HTML from values: whatever is not markup already is escaped, so that no node's name or log text is."""

from __future__ import annotations

import html
import json
from typing import Any

_VOID = frozenset({"meta", "link", "br"})
_UNSAFE = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def text(value: object) -> Markup:
    """A value as HTML; markup stays what it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def join(*parts: object) -> Markup:
    """Values one after the other."""
    return Markup("".join(text(part) for part in parts))


def tag(name: str, *content: object, **attributes: str | int | bool | None) -> Markup:
    """An element; ``class_`` and ``data_x`` are the attributes ``class`` and ``data-x``.

    An attribute that is None or False is left out, one that is True has no value.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        words.append(attribute if value is True else f'{attribute}="{html.escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if name in _VOID else f"{opening}{join(*content)}</{name}>")


def words(value: object) -> str:
    """A JSON value in words, as it would stand on a command line."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def json_script(identifier: str, value: Any) -> Markup:
    """A value as a JSON data block, which no text in it can end."""
    encoded = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    safe = encoded.translate(_UNSAFE)
    return Markup(f'<script type="application/json" id="{html.escape(identifier)}">{safe}</script>')
