"""A terminal's state as octets, so that a restarted agent goes on; it holds no secret. No I/O."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import Any

import msgspec

from nodes import errors
from nodes.terminal.actions import Undone
from nodes.terminal.contexts import Context
from nodes.terminal.hops import Hop
from nodes.terminal.plan import HopPlan
from nodes.terminal.services import Tracked
from nodes.terminal.settings import Settings

VERSION = 3


class ScheduleState(msgspec.Struct, kw_only=True):
    """How far a schedule has come.

    Attributes:
        plan: the plan, None: there is none.
        current: the address that hops next.
        number: of the last hop.
        begun: hops of the plan that began.
        started: when the plan began, ns.
        next_slot: when the next hop is due, None: not by time.
        waiting: a hop waits for an address that a router offers.
        taken: how many addresses of the pool were taken.
        by_hand: the plan is for single hops by hand.
        queued: the numbers of hops that were asked for by hand and have not begun.
    """

    plan: HopPlan | None = None
    current: IPv6Address | None = None
    number: int = 0
    begun: int = 0
    started: int = 0
    next_slot: int | None = None
    waiting: bool = False
    taken: int = 0
    by_hand: bool = False
    queued: list[int] = []


class State(msgspec.Struct, kw_only=True):
    """All of it.

    Attributes:
        version: of this format.
        settings: that were in force.
        services: with their ends on the wire.
        hops: under way, as first terminal.
        leaving: addresses that are to be retired.
        identities: addresses that sockets bear, and whether they are retired.
        contexts: hops of partners.
        partners: where they are.
        schedule: how far it has come.
        undone: actions that are not known to be carried out.
    """

    version: int = VERSION
    settings: Settings
    services: list[Tracked]
    hops: list[Hop]
    leaving: list[IPv6Address]
    identities: list[tuple[IPv6Address, bool]]
    contexts: list[Context]
    partners: dict[str, list[IPv6Address]]
    schedule: ScheduleState
    undone: list[Undone]


def written(state: State) -> bytes:
    """The state's octets."""
    return _ENCODER.encode(state)


def read(octets: bytes) -> State:
    """The state that was written.

    Raises:
        ParameterError: the octets are none, or of another version.
    """
    try:
        state = _DECODER.decode(octets)
    except (msgspec.DecodeError, ValueError) as error:
        raise errors.ParameterError(f"the terminal's snapshot cannot be read: {error}") from None
    if state.version != VERSION:
        raise errors.ParameterError(f"the terminal's snapshot has version {state.version}, not {VERSION}")
    return state


def _to_plain(value: Any) -> Any:
    if isinstance(value, IPv6Address):
        return value.packed
    if isinstance(value, IPv6Network):
        return str(value)
    raise NotImplementedError(f"{type(value)} in a snapshot")


def _from_plain(kind: type, value: Any) -> Any:
    if kind is IPv6Address and isinstance(value, bytes):
        return IPv6Address(value)
    if kind is IPv6Network and isinstance(value, str):
        return IPv6Network(value)
    raise ValueError(f"no {kind.__name__}")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_to_plain)
_DECODER = msgspec.msgpack.Decoder(State, dec_hook=_from_plain)
