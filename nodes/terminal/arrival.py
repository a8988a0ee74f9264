"""A message as it came: its octets, between which addresses, how and when. No I/O."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv6Address

from nodes.terminal.actions import Carriage
from nodes.terminal.keys import ContextKeys, Direction, Leg


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """What came, all of it a stranger's word until its MAC was right.

    Attributes:
        source: the address it says that it comes from.
        destination: the address of ours that it came to.
        octets: the whole message, with its MAC.
        carriage: how it travelled.
        now: when it came, in nanoseconds.
    """

    source: IPv6Address
    destination: IPv6Address
    octets: bytes
    carriage: Carriage
    now: int

    def verified(self, keys: ContextKeys, leg: Leg, direction: Direction) -> bool:
        """Whether its MAC is right for these addresses."""
        return keys.verifies(leg, direction, self.source, self.destination, self.octets)
