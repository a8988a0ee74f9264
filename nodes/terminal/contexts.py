"""The state of partners' hops at the second terminal: data that a restart takes up again. No I/O."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv6Address

import msgspec

from nodes.terminal.actions import Endpoint, Flow
from nodes.terminal.replay import Numbering, Window


class Stage(StrEnum):
    """How far a partner's service has come in its hop."""

    ANSWERED = "answered"
    PREPARED = "prepared"
    SWITCHED = "switched"


class Record(msgspec.Struct, kw_only=True):
    """A service that the partner asked about and that supports updating.

    Attributes:
        id: its number in the context.
        flow: the service, as this terminal's socket knows it.
        sources: the first addresses that the partner asked from.
        target: the partner's end at the second address.
        stage: how far it has come.
        left: the partner's end before the switch.
        turn: when it came to its stage, ns.
    """

    id: int
    flow: Flow
    sources: list[IPv6Address]
    target: Endpoint
    stage: Stage = Stage.ANSWERED
    left: Endpoint | None = None
    turn: int


class Context(msgspec.Struct, kw_only=True):
    """A partner's hop.

    Attributes:
        pair: the partner's name.
        number: the context on the first leg.
        second: the second address, as it was sealed.
        sources: first addresses that it was asked from.
        proven: those of them that the partner receives at.
        validated: the partner receives at the second address.
        numbering: of the messages sent, on the first and the second leg.
        windows: of the messages taken, likewise.
        records: the services by their ids.
        unknown: when a flow was first asked about that the inventory did not show.
        until: when the context ends if nothing more comes.
        closed: the partner left the first address.
    """

    pair: str
    number: int
    second: IPv6Address
    sources: list[IPv6Address] = []
    proven: list[IPv6Address] = []
    validated: bool = False
    numbering: tuple[Numbering, Numbering]
    windows: tuple[Window, Window]
    records: dict[int, Record] = {}
    unknown: dict[int, int] = {}
    until: int
    closed: bool = False
