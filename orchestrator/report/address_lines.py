"""The life of each address, from the events ``address.*``. No I/O.

``address.added`` begins it (``address``; ``preferred`` and ``valid``, the lifetimes in seconds, where there
are any), ``address.deprecated`` ends its preferred lifetime, ``address.removed`` its valid one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from nodes.events import Event


@dataclasses.dataclass(kw_only=True)
class AddressLine:
    """One address of one node; an end that is None was not reached."""

    node: str
    address: str
    start_ns: int | None
    deprecated_ns: int | None = None
    end_ns: int | None = None
    preferred_s: float | None = None
    valid_s: float | None = None


def address_lines(events: Iterable[Event]) -> list[AddressLine]:
    """The addresses in the order in which they came; ``events`` in the order of time."""
    standing: dict[tuple[str, str], AddressLine] = {}
    lines: list[AddressLine] = []
    for event in events:
        prefix, _, what = event.kind.partition(".")
        address = event.data.get("address")
        if prefix != "address" or not isinstance(address, str):
            continue
        key = (event.node, address)
        if key not in standing:
            begun = event.time_ns if what == "added" else None
            standing[key] = AddressLine(node=event.node, address=address, start_ns=begun)
            lines.append(standing[key])
        line = standing[key]
        line.preferred_s = _seconds(event.data.get("preferred"), line.preferred_s)
        line.valid_s = _seconds(event.data.get("valid"), line.valid_s)
        if what == "deprecated":
            line.deprecated_ns = event.time_ns
        elif what == "removed":
            line.end_ns = event.time_ns
            del standing[key]
    return lines


def _seconds(value: object, known: float | None) -> float | None:
    return float(value) if isinstance(value, int | float) else known
