"""What the packets of a capture say about a tunnel, as checks of a verdict that name the packets."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrator.capture.classify import Headers, address_is, numbers
from orchestrator.capture.pcapng import Offsets, Packets
from orchestrator.evidence.verdict import Check

_SHOWN = 3


def esp_both_ways(headers: Headers, first: ipaddress.IPv6Address, second: ipaddress.IPv6Address) -> Check:
    """ESP, in UDP or not, was seen from each of two addresses to the other."""
    measured = {
        f"{source} > {destination}": _evidence(
            numbers(
                headers.is_esp
                & address_is(headers.source, source)
                & address_is(headers.destination, destination)
            )
        )
        for source, destination in ((first, second), (second, first))
    }
    return Check.of(
        "ESP was seen in both directions",
        expected="at least 1 packet in each",
        measured=measured,
        passed=all(found["packets"] > 0 for found in measured.values()),
    )


def nothing_in_clear(packets: Packets, prefixes: Mapping[str, ipaddress.IPv6Network]) -> Check:
    """No packet bears an address of ``prefixes`` in clear, wherever in it: in no header, no quotation in an
    ICMPv6 error, no neighbour solicitation.

    It looks for the prefixes' whole octets; a prefix that others share with it is not for this check.
    """
    measured = {
        name: _evidence(bearing(packets, prefix.network_address.packed[: prefix.prefixlen // 8]))
        for name, prefix in prefixes.items()
    }
    return Check.of(
        "no inner address was seen in clear",
        expected=f"0 of {len(packets)} packets",
        measured=measured,
        passed=len(packets) > 0 and all(found["packets"] == 0 for found in measured.values()),
    )


def bearing(packets: Packets, octets: bytes) -> Offsets:
    """The numbers of the packets that have ``octets`` in them anywhere.

    Raises:
        ValueError: there are no octets to look for.
    """
    if not octets:
        raise ValueError("no octets to look for")
    found = []
    at = packets.file.find(octets)
    while at >= 0:
        found.append(at)
        at = packets.file.find(octets, at + 1)
    begin = np.array(found, np.int64)
    index = np.searchsorted(packets.start, begin, side="right") - 1
    begin, index = begin[index >= 0], index[index >= 0]
    within = begin + len(octets) <= packets.start[index] + packets.captured[index]
    return np.unique(index[within]) + 1


def _evidence(found: Offsets) -> dict[str, Any]:
    """How many packets, and the numbers by which Wireshark shows the first ones and the last."""
    evidence: dict[str, Any] = {"packets": len(found)}
    if len(found):
        evidence |= {"first": found[:_SHOWN].tolist(), "last": int(found[-1])}
    return evidence
