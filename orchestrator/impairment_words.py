"""An impairment in words: ``NODE loss=1% delay=20ms jitter=2ms reorder=25% rate=10mbit``. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import msgspec

from nodes import errors
from nodes.impairment import Impairment

_VALUE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-z%]*)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "us": 1e-6}
_BITS = {"bit": 1, "kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}
_UNITS: dict[str, dict[str, float]] = {
    "loss": {"%": 0.01},
    "reorder": {"%": 0.01},
    "delay": _SECONDS,
    "jitter": _SECONDS,
    "rate": dict(_BITS),
}


def parse(text: str, nodes: Collection[str]) -> tuple[str, Impairment]:
    """The node, and what happens to all that it sends.

    Args:
        text: the words.
        nodes: the names of the nodes that there are.

    Raises:
        ParameterError: it is none; the text says which word.
    """
    node, *words = text.split() or [""]
    if node not in nodes:
        raise errors.ParameterError(f"impairment {text!r}: no node {node!r}; there are {', '.join(nodes)}")
    values: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in _UNITS:
            raise errors.ParameterError(f"impairment {text!r}: {word!r} is none of {', '.join(_UNITS)}")
        if name in values:
            raise errors.ParameterError(f"impairment {text!r}: {name} is given twice")
        values[name] = _number(text, name, value)
    try:
        return node, msgspec.convert(values, Impairment)
    except msgspec.ValidationError as error:
        raise errors.ParameterError(f"impairment {text!r}: {error}") from None


def _number(text: str, name: str, value: str) -> float | int:
    units = _UNITS[name]
    found = _VALUE.fullmatch(value)
    if found is None or found[2] not in units:
        example = f"{name}=10{next(iter(units))}"
        raise errors.ParameterError(
            f"impairment {text!r}: {name}={value} wants a number with {' or '.join(units)}, such as {example}"
        )
    number = float(found[1]) * units[found[2]]
    return round(number) if name == "rate" else number
