"""The values that cross a node's control channel about method 2. Times are seconds, moments CLOCK_MONOTONIC
in ns."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from nodes import errors
from nodes.abnormality.machine import NS_PER_S, Record, Side
from nodes.abnormality.timing import Timing

Handling = Literal["on", "off"]


class AbnormalityOptions(Timing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The setting ``abnormality`` of a node: whether the method is in force from the start, and its times."""

    handling: Handling = "off"

    @property
    def timing(self) -> Timing:
        """The times."""
        return Timing(t1=self.t1, t2=self.t2, growth=self.growth, ceiling=self.ceiling)


class Configure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``abnormality.configure``; what is left out stays as it is.

    Attributes:
        handling: ``off`` lets IKE be as it is without the method; ``on`` begins, or begins again.
        partner: the address of the one partner that the times are for; None: all that have none of their own.
    """

    handling: Handling | None = None
    t1: float | None = None
    t2: float | None = None
    growth: float | None = None
    ceiling: float | None = None
    partner: str | None = None

    def __post_init__(self) -> None:
        check_partner(self.partner)
        if self.partner is not None and self.handling is not None:
            raise ValueError("handling is a node's; partner is for the times of one partner")

    def applied_to(self, timing: Timing) -> Timing:
        """The times with what is given here in place of what was.

        Raises:
            ValueError: together they are no times.
        """
        given = {name: getattr(self, name) for name in ("t1", "t2", "growth", "ceiling")}
        before = {name: getattr(timing, name) for name in given}
        return Timing(**before | {name: value for name, value in given.items() if value is not None})


class Configured(Struct, frozen=True, kw_only=True):
    """The result of ``abnormality.configure``: what is in force now, and what of it is hardly meant."""

    handling: Handling
    timing: Timing
    warnings: tuple[str, ...] = ()


class Activate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``abnormality.activate``: the partner's address; None: all partners."""

    partner: str | None = None

    def __post_init__(self) -> None:
        check_partner(self.partner)


class Activated(Struct, frozen=True, kw_only=True):
    """The result of ``abnormality.activate``: how many sides became active."""

    activated: int


class PartnerState(Struct, frozen=True, kw_only=True):
    """What is remembered of one partner and side.

    Attributes:
        until: when an inactive side becomes active again, CLOCK_MONOTONIC ns.
        for_s: how long that is from now, s; 0 where it is active.
        reason: what was abnormal the last time.
        times: abnormal negotiations in a row.
    """

    partner: str
    side: Side
    state: Literal["active", "inactive"]
    until: int
    for_s: float
    reason: str
    times: int

    def why(self) -> str:
        """For how long a sender begins nothing, and why, in words."""
        return (
            f"the sender is inactive towards {self.partner} for another {self.for_s:.1f} s after an abnormal "
            f"negotiation ({self.reason}); a changed configuration or abnormality.activate makes it active "
            "at once"
        )


def partner_state(record: Record, now_ns: int) -> PartnerState:
    """What is remembered of one partner and side, as it is told."""
    inactive = record.until_ns > now_ns
    return PartnerState(
        partner=record.partner,
        side=record.side,
        state="inactive" if inactive else "active",
        until=record.until_ns if inactive else 0,
        for_s=(record.until_ns - now_ns) / NS_PER_S if inactive else 0.0,
        reason=record.reason,
        times=record.times,
    )


class Status(Struct, frozen=True, kw_only=True):
    """The result of ``abnormality.status``.

    Attributes:
        handling: whether the method was asked for.
        running: whether it is in force: a guard that died is not.
        pid: the guard's process, 0 where none runs; an endpoint has none.
        warnings: what of the times is hardly meant.
    """

    handling: Handling
    running: bool
    pid: int
    timing: Timing
    partners: tuple[PartnerState, ...] = ()
    warnings: tuple[str, ...] = ()


def canonical(address: str) -> str:
    """An address as the states name it."""
    return str(ipaddress.ip_address(address))


def require_partner(partner: str, partners: Iterable[str]) -> str:
    """A partner's address, as the states name it.

    Raises:
        ParameterError: it is none of these, to which connections are loaded; the text has them.
    """
    known = sorted(partners)
    if canonical(partner) not in known:
        there_are = ", ".join(known) or "none"
        raise errors.ParameterError(
            f"{partner} is no partner: no connection to it is loaded; the partners are: {there_are}"
        )
    return canonical(partner)


def check_partner(partner: str | None) -> None:
    """Refuse what can be no partner.

    Raises:
        ValueError: it is no IPv6 address of one node.
    """
    if partner is None:
        return
    try:
        address = ipaddress.IPv6Address(partner)
    except ValueError:
        raise ValueError(f"partner {partner!r} is no IPv6 address") from None
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        raise ValueError(f"partner {partner!r} is not the address of another node")
