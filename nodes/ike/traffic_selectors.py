"""Traffic selectors: what a pair of SAs protects, as Quick Mode's identities (RFC 2409, 5.5). No I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from nodes.ike.messages.identification import (
    encode_identification,
    network_selector,
    parse_identification,
    selector_network,
)
from nodes.ike.messages.malformed import MalformedError, NotifyType
from nodes.ike.messages.payloads import Payload, PayloadType, bodies
from nodes.ike.profile import ChildProfile


class Selectors(NamedTuple):
    """What a pair of SAs protects, seen from here."""

    local: ipaddress.IPv6Network
    remote: ipaddress.IPv6Network


def overlap(one: ipaddress.IPv6Network, other: ipaddress.IPv6Network) -> ipaddress.IPv6Network | None:
    """The prefix that two prefixes have in common."""
    if one.subnet_of(other):
        return one
    return other if other.subnet_of(one) else None


def match_child(children: Sequence[ChildProfile], asked: Selectors) -> tuple[ChildProfile, Selectors] | None:
    """The child that best fits what a partner asks for, and what of it we protect: the widest overlap."""
    found: list[tuple[int, ChildProfile, Selectors]] = []
    for child in children:
        for ours in child.local_ts:
            for theirs in child.remote_ts:
                local, remote = overlap(ours, asked.local), overlap(theirs, asked.remote)
                if local is not None and remote is not None:
                    width = local.prefixlen + remote.prefixlen
                    found.append((width, child, Selectors(local, remote)))
    if not found:
        return None
    _, child, selectors = min(found, key=lambda one: one[0])
    return child, selectors


def selector_payloads(
    initiator: ipaddress.IPv6Network, responder: ipaddress.IPv6Network
) -> tuple[Payload, ...]:
    """The initiator's selector and the responder's, as payloads."""
    return tuple(
        Payload(PayloadType.IDENTIFICATION, encode_identification(network_selector(network)))
        for network in (initiator, responder)
    )


def selectors_in(payloads: tuple[Payload, ...]) -> tuple[ipaddress.IPv6Network, ipaddress.IPv6Network]:
    """The initiator's selector and the responder's.

    Raises:
        MalformedError: there are not two, or one is none that we carry.
    """
    found = bodies(payloads, PayloadType.IDENTIFICATION)
    if len(found) != 2:
        raise MalformedError(
            f"{len(found)} traffic selectors where two are due", NotifyType.INVALID_ID_INFORMATION
        )
    first, second = (selector_network(parse_identification(body)) for body in found)
    return first, second
