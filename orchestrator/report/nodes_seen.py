"""Which node an address belongs to, as far as the events tell."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from nodes.events import Event

_OWN = ("local_address", "address")
"""The fields in which an event of a node names an address of its own."""
_TOLD_BY = ("ike-sa.", "node.", "address.")


def names_by_address(events: Iterable[Event]) -> dict[str, str]:
    """The names of nodes by their addresses, in RFC 5952 form."""
    names: dict[str, str] = {}
    for event in events:
        if not event.node or not event.kind.startswith(_TOLD_BY):
            continue
        for field in _OWN:
            address = _canonical(event.data.get(field))
            if address:
                names.setdefault(address, event.node)
    return names


def address_text(halves: npt.NDArray[np.uint64]) -> str:
    """An address from its two halves, as :mod:`orchestrator.capture.classify` has it."""
    address = ipaddress.IPv6Address((int(halves[0]) << 64) | int(halves[1]))
    return str(address.ipv4_mapped or address)


def _canonical(text: object) -> str:
    if not isinstance(text, str):
        return ""
    try:
        return str(ipaddress.ip_address(text.partition("/")[0]))
    except ValueError:
        return ""
