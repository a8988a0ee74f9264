"""The values that cross the control channel of a terminal: what is asked of it, and what it answers.

Times are seconds where a name says nothing else; ``*_ms`` are milliseconds. Addresses are text.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta, Struct

from nodes.terminal.policy import PolicyRule

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")]
Secret = Annotated[str, Meta(min_length=16, max_length=1024)]
KindName = Literal["interface-id", "prefix", "both", "ra"]
CarriageName = Literal["option", "udp"]
OutcomeName = Literal["hopped", "ended-before", "not-recognised", "refused", "no-answer"]
Timeout = Annotated[float, Meta(gt=0, le=3600)]


class Pair(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``terminal.pair``: a partner, the secret shared with it, and where it is now."""

    partner: Name
    secret: Secret
    addresses: Annotated[tuple[str, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        for address in self.addresses:
            ipaddress.IPv6Address(address)

    def __repr__(self) -> str:
        return f"Pair(partner={self.partner!r}, secret=…)"


class SetPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``terminal.policy``: which services support address updating (:mod:`.policy`).

    ``silent`` makes the terminal answer no message of a partner, for tests of that outcome.
    """

    rules: tuple[PolicyRule, ...] = ()
    otherwise: bool = True
    prefix: bool = True
    interface_id: bool = True
    silent: bool = False


class Link(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``terminal.link``: prefixes on the link beside those that the node has a route to."""

    prefixes: Annotated[tuple[str, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        for prefix in self.prefixes:
            ipaddress.IPv6Network(prefix)


class Hopping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How hops go: what ``terminal.schedule`` and ``terminal.hop`` have in common.

    Attributes:
        kind: which part of the address changes.
        first: the address that hops; None: the node's own of the plan, or the latest that it hopped to.
        prefixes: for ``prefix`` and ``both``; a shorter one than 64 bits stands for those in it.
        carriage: how messages travel; with ``fallback`` by UDP too where no answer comes by the option.
        option_type: of the destination option: 0xDE, 0x1E or 0x9E.
        grace: the least time from the switch to the close, s.
        keep: how long at most an address is kept for services that cannot leave it, s; then their sockets
            are closed.
        flow_labels: a fresh flow label for each service in each hop.
        move_ports: other ports on the wire after each hop.
        pool: how many second addresses are stored beforehand; None: as many as are needed.
    """

    kind: KindName = "interface-id"
    first: str | None = None
    prefixes: tuple[str, ...] = ()
    carriage: CarriageName = "option"
    fallback: bool = False
    option_type: Annotated[int, Meta(ge=0, le=255)] = 0xDE
    grace: Annotated[float, Meta(ge=0, le=60)] = 0.02
    keep: Annotated[float, Meta(gt=0, le=86_400)] = 600.0
    flow_labels: bool = False
    move_ports: bool = False
    pool: Annotated[int, Meta(ge=1)] | None = None


class Schedule(Hopping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``terminal.schedule``: hops by a period, by kernel lifetimes, or by advertisements.

    It is accepted, or refused, at once; the hops are told by events.

    Attributes:
        hops: how many; None: until ``terminal.stop``.
        period: s from one hop to the next; None where lifetimes or advertisements drive them.
        jitter: s that a hop may be later, by chance.
        preferred, valid: the lifetimes of each address, whole seconds; the kernel's expiry drives the hops.
    """

    hops: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    period: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    jitter: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    preferred: Annotated[int, Meta(ge=1, le=86_400)] | None = None
    valid: Annotated[int, Meta(ge=1, le=86_400)] | None = None


class Hop(Hopping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``terminal.hop``: one by hand, which returns when it is closed."""

    timeout: Timeout = 30.0


class Hopped(Struct, frozen=True, kw_only=True):
    """The result of ``terminal.hop``, and the data of the event ``hop.closed`` (:mod:`.phases`).

    Attributes:
        phases_ms: when each phase was reached, ms after the hop began.
        outcomes: how many services had which outcome.
        partners: what became of the exchange with each partner.
        retired: whether the first address is gone; it is not while services are kept on it.
    """

    hop: int
    first: str
    second: str
    phases_ms: dict[str, float]
    rtt_ms: float | None = None
    grace_ms: float = 0.0
    outcomes: dict[str, int] = {}
    partners: dict[str, str] = {}
    retired: bool = True


class AddressState(Struct, frozen=True, kw_only=True):
    """An address of the terminal with what is left of its lifetimes, s; None: for ever."""

    address: str
    state: Literal["preferred", "deprecated", "tentative", "retired"]
    preferred: float | None = None
    valid: float | None = None


class PairState(Struct, frozen=True, kw_only=True):
    """A partner; nothing of its secret."""

    partner: str
    addresses: tuple[str, ...]
    carriage: CarriageName | None = None


class FlowState(Struct, frozen=True, kw_only=True):
    """A service: as its socket knows it, and what its packets bear on the wire."""

    service: str
    partner: str | None
    wire: str
    outcome: str | None = None


class HopState(Struct, frozen=True, kw_only=True):
    """A hop that is under way."""

    hop: int
    first: str
    second: str
    state: str


class Status(Struct, frozen=True, kw_only=True):
    """The result of ``terminal.status``; ``hopped`` counts the hops that were closed."""

    addresses: tuple[AddressState, ...]
    pairs: tuple[PairState, ...]
    flows: tuple[FlowState, ...]
    hops: tuple[HopState, ...]
    hopped: int = 0
