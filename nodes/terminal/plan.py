"""When addresses hop and to what: the schedule of a terminal, as a user gives it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv6Address, IPv6Network
from random import Random
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from nodes import errors
from nodes.terminal.message import Capability

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
INTERFACE_ID_BITS = 64
MOST_HOPS = 1_000_000


class Kind(StrEnum):
    """Which part of the address changes."""

    INTERFACE_ID = "interface-id"
    PREFIX = "prefix"
    BOTH = "both"
    RA = "ra"
    """Whatever a router's advertisements change."""


class Dad(StrEnum):
    """How the node detects duplicate addresses."""

    NODAD = "nodad"
    OPTIMISTIC = "optimistic"
    FULL = "full"


_LEAST_HOP = {Dad.NODAD: 20 * NS_PER_MS, Dad.OPTIMISTIC: 20 * NS_PER_MS, Dad.FULL: 2 * NS_PER_S}
"""What a hop can take: the exchange on a link, or a tentative address's second of silence and its delay."""
_EVENT_LATE = 60 * NS_PER_MS
"""The kernel tells the end of a lifetime up to 52 ms after it."""


class HopPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule of hops, checked.

    Attributes:
        kind: what changes.
        first: the address that hops.
        hops: how many; None: until stopped.
        period: ns between hops; None: lifetimes, advertisements or a hand drive them.
        jitter: up to so many ns later, by chance.
        preferred: s of preferred lifetime for each address; the hop begins when it ends.
        valid: s of valid lifetime; the original session is closed when it ends.
        prefixes: of up to 64 bits; a shorter one stands for the prefixes of 64 bits in it.
        pool: how many second addresses there are; None: as many as are needed.
        dad: how duplicates are detected.
    """

    kind: Kind = Kind.INTERFACE_ID
    first: IPv6Address
    hops: int | None = None
    period: int | None = None
    jitter: int = 0
    preferred: int | None = None
    valid: int | None = None
    prefixes: tuple[IPv6Network, ...] = ()
    pool: int | None = None
    dad: Dad = Dad.NODAD

    def __post_init__(self) -> None:
        _check_times(self)
        _check_prefixes(self)

    @property
    def by_lifetimes(self) -> bool:
        """Whether the kernel's own lifetimes drive the hops."""
        return self.preferred is not None or self.kind is Kind.RA

    def slot(self, number: int, began: int, random: Random) -> int:
        """When the hop of this number (from 0) is due, ns."""
        if self.period is None:
            raise ValueError("a plan without a period has no slots")
        late = random.randrange(self.jitter + 1) if self.jitter else 0
        return began + number * self.period + late


class _Written(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    kind: Kind = Kind.INTERFACE_ID
    first: str
    hops: Annotated[int, Meta(ge=1, le=MOST_HOPS)] | None = None
    period: Annotated[int, Meta(ge=1)] | None = None
    jitter: Annotated[int, Meta(ge=0)] = 0
    preferred: Annotated[int, Meta(ge=1, le=86_400)] | None = None
    valid: Annotated[int, Meta(ge=1, le=86_400)] | None = None
    prefixes: list[str] = []
    pool: Annotated[int, Meta(ge=1)] | None = None
    dad: Dad = Dad.NODAD


def plan_of(settings: Mapping[str, Any]) -> HopPlan:
    """A plan from what a user wrote: the fields of :class:`HopPlan` as JSON values, addresses as text.

    Raises:
        ParameterError: a field is unknown or out of range, or the times do not leave room for a hop.
    """
    try:
        written = msgspec.convert(dict(settings), _Written)
        fields = {name: getattr(written, name) for name in written.__struct_fields__}
        fields["first"] = IPv6Address(written.first)
        fields["prefixes"] = tuple(IPv6Network(prefix) for prefix in written.prefixes)
    except ValueError as error:  # msgspec's ValidationError is one too
        raise errors.ParameterError(f"hops: {error}") from None
    return HopPlan(**fields)


def capability(first: IPv6Address, second: IPv6Address) -> Capability:
    """Which parts differ between these addresses."""
    prefix = int(first) >> INTERFACE_ID_BITS != int(second) >> INTERFACE_ID_BITS
    interface_id = (int(first) ^ int(second)) & (1 << INTERFACE_ID_BITS) - 1 != 0
    return (Capability.PREFIX if prefix else Capability.NONE) | (
        Capability.INTERFACE_ID if interface_id else Capability.NONE
    )


def _check_times(plan: HopPlan) -> None:
    least = _LEAST_HOP[plan.dad]
    if plan.period is not None and (plan.preferred is not None or plan.valid is not None):
        raise errors.ParameterError("hops: either a period drives the hops or lifetimes do, not both")
    if plan.period is not None and plan.kind is Kind.RA:
        raise errors.ParameterError(
            "hops: with kind=ra the router's advertisements drive the hops, not a period"
        )
    if (plan.preferred is None) != (plan.valid is None):
        raise errors.ParameterError("hops: preferred and valid go together")
    if plan.jitter and plan.period is None:
        raise errors.ParameterError("hops: jitter goes with a period")
    if plan.period is not None:
        if plan.period < least:
            raise errors.ParameterError(
                f"hops: a period of {plan.period / NS_PER_MS:g} ms is shorter than a hop can take with "
                f"duplicate address detection {plan.dad} ({least / NS_PER_MS:g} ms)"
            )
        if plan.jitter >= plan.period:
            raise errors.ParameterError("hops: the jitter is less than the period")
    if plan.preferred is not None and plan.valid is not None:
        room = (plan.valid - plan.preferred) * NS_PER_S
        if room < least + _EVENT_LATE:
            raise errors.ParameterError(
                f"hops: preferred {plan.preferred} s and valid {plan.valid} s leave {room / NS_PER_S:g} s "
                f"for a hop, which can take {(least + _EVENT_LATE) / NS_PER_S:g} s with duplicate address "
                f"detection {plan.dad}"
            )


def _check_prefixes(plan: HopPlan) -> None:
    needs = plan.kind in (Kind.PREFIX, Kind.BOTH)
    if needs and not plan.prefixes:
        raise errors.ParameterError(f"hops: kind={plan.kind} needs prefixes to go to")
    if plan.prefixes and not needs:
        raise errors.ParameterError(f"hops: kind={plan.kind} takes no prefixes")
    for prefix in plan.prefixes:
        if prefix.prefixlen > INTERFACE_ID_BITS:
            raise errors.ParameterError(f"hops: the prefix {prefix} is longer than 64 bits")
        if not usable(prefix.network_address + 1):
            raise errors.ParameterError(f"hops: {prefix} is no prefix of unicast addresses beyond the link")
    if not usable(plan.first):
        raise errors.ParameterError(f"hops: {plan.first} is no unicast address beyond the link")


def usable(address: IPv6Address) -> bool:
    """Whether an address can be a first or a second one: unicast, not of the link or the node alone."""
    return not (
        address.is_multicast
        or address.is_link_local
        or address.is_loopback
        or address.is_unspecified
        or address.ipv4_mapped is not None
    )
