"""What every part of the core works with: the clock, the timers, and what is to be done outside."""

from __future__ import annotations

import ipaddress
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from nodes.ike.dataplane.base import Direction, EspSa, Policy, Usage
from nodes.ike.gate import Gate, OpenGate
from nodes.ike.settings import IkeOptions
from nodes.ike.timers import Timers

IKE_PORT, NAT_T_PORT = 500, 4500


class Path(NamedTuple):
    """Between which addresses and ports a datagram goes, seen from here."""

    local: ipaddress.IPv6Address
    local_port: int
    remote: ipaddress.IPv6Address
    remote_port: int


class Send(NamedTuple):
    """A datagram that is to be sent; on port 4500 the non-ESP marker is put before it outside."""

    path: Path
    datagram: bytes


class Happened(NamedTuple):
    """Something that happened, as an event's kind and data."""

    kind: str
    data: dict[str, Any]


class IkeKeyMaterial(NamedTuple):
    """The key of an ISAKMP SA, for a capture's reader; only where the run asks for keys."""

    cookies: tuple[bytes, bytes]
    key: bytes

    def __repr__(self) -> str:
        return "IkeKeyMaterial(…)"


class EspKeyMaterial(NamedTuple):
    """The keys of one IPsec SA and between whom it goes; only where the run asks for keys."""

    sa: EspSa
    source: ipaddress.IPv6Address
    destination: ipaddress.IPv6Address

    def __repr__(self) -> str:
        return "EspKeyMaterial(…)"


Verb = Literal[
    "install_policy",
    "remove_policy",
    "install_inbound",
    "install_outbound",
    "remove_inbound",
    "remove_outbound",
    "usage",
]
"""The calls of :class:`~nodes.ike.dataplane.base.DataPlane`."""


class Order(NamedTuple):
    """Something that the data plane is to do; the endpoint is told when it is done, or why it is not."""

    number: int
    verb: Verb
    argument: Policy | EspSa | int | None

    def __repr__(self) -> str:
        return f"Order({self.number}, {self.verb})"


class Result(NamedTuple):
    """How an order ended: with an error's text, or without; ``usage`` gives what was counted."""

    error: str | None = None
    usage: Mapping[tuple[Direction, int], Usage] | None = None


Output = Send | Happened | Order | IkeKeyMaterial | EspKeyMaterial
"""What is to be done outside."""


class Context:
    """The surroundings of the core. ``outputs`` is drained by whoever runs it, in order.

    Args:
        options: of the endpoint.
        gate: asked before each negotiation.
    """

    def __init__(self, options: IkeOptions, gate: Gate | None = None) -> None:
        self.options = options
        self.gate = gate or OpenGate()
        self.now = 0.0
        self.timers = Timers()
        self.outputs: deque[Output] = deque()
        self.ids = itertools.count(1)
        self.child_ids = itertools.count(1)
        self._orders = itertools.count(1)
        self._waiting: dict[int, Callable[[Result], None]] = {}

    def send(self, path: Path, datagram: bytes) -> None:
        """Have a datagram sent."""
        self.outputs.append(Send(path, datagram))

    def say(self, kind: str, **data: Any) -> None:
        """Tell what happened."""
        self.outputs.append(Happened(kind, data))

    def order(
        self, verb: Verb, argument: Policy | EspSa | int | None, done: Callable[[Result], None] | None = None
    ) -> None:
        """Have the data plane do something; orders are carried out one after the other."""
        number = next(self._orders)
        if done is not None:
            self._waiting[number] = done
        self.outputs.append(Order(number, verb, argument))

    def completed(self, number: int, result: Result) -> None:
        """An order is over."""
        done = self._waiting.pop(number, None)
        if done is not None:
            done(result)

    def reveal_ike(self, cookies: tuple[bytes, bytes], key: bytes) -> None:
        """Write an ISAKMP SA's key down, if the run asks for keys."""
        if self.options.keys:
            self.outputs.append(IkeKeyMaterial(cookies, key))

    def reveal_esp(self, inbound: EspSa, outbound: EspSa) -> None:
        """Write a pair's keys down, if the run asks for keys."""
        if self.options.keys:
            self.outputs.append(EspKeyMaterial(inbound, inbound.remote, inbound.local))
            self.outputs.append(EspKeyMaterial(outbound, outbound.local, outbound.remote))

    @staticmethod
    def random(octets: int) -> bytes:
        """Unpredictable octets."""
        return secrets.token_bytes(octets)
