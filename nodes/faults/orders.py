"""What a fault engine is told: at its start on its command line, later as lines on its standard input."""

from __future__ import annotations

import msgspec

from nodes.faults.matching import NumberedRule

ADDED = "faults.added"
"""The event that answers :class:`Add`."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine begins with.

    Attributes:
        seed: where every choice that a rule leaves open comes from.
        rules: in their order.
        addresses: of the nodes, by name: what ``to NODE`` means.
    """

    seed: int
    rules: tuple[NumberedRule, ...]
    addresses: dict[str, tuple[str, ...]]


class Add(msgspec.Struct, frozen=True, kw_only=True, tag="add"):
    """One more rule; an event :data:`ADDED` with its number answers it."""

    rule: NumberedRule


class Heard(msgspec.Struct, frozen=True, kw_only=True, tag="heard"):
    """An event happened that a rule may wait for."""

    kind: str
    time_ns: int


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag="seen"):
    """A message on which another node's engine acted, which may not come here: ``octets`` are in hex."""

    octets: str
    destination: str


Order = Add | Heard | Seen
"""What an engine can be told."""
