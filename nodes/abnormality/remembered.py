"""How much of negotiations is remembered: under a flood the oldest is forgotten. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

MOST = 1024
"""Of each kind."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def remember(table: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Remember something as the newest; beyond :data:`MOST` the oldest is forgotten."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > MOST:
        table.popitem(last=False)
