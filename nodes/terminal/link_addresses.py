"""The addresses of the interface, as the kernel tells of them. No I/O.

The kernel notifies (RTM_NEWADDR) when an address appears, when it ceases to be tentative, when its preferred
lifetime ends and when its lifetimes change; and (RTM_DELADDR) when its valid lifetime ends or somebody
removes it.
"""

from __future__ import annotations

import enum
from ipaddress import IPv6Address
from typing import NamedTuple

OPTIMISTIC = 0x04
DAD_FAILED = 0x08
DEPRECATED = 0x20
TENTATIVE = 0x40
FOR_EVER = 0xFFFFFFFF
FROM_ADVERTISEMENT = 2
"""``IFAPROT_KERNEL_RA``."""
_SECOND = 1_000_000_000


class Said(NamedTuple):
    """One notification, or one line of the kernel's list.

    Attributes:
        there: the interface has the address.
        preferred, valid: its lifetimes in seconds from now, :data:`FOR_EVER`.
        protocol: who put it there (``IFA_PROTO``), 0 where the kernel does not tell.
    """

    there: bool
    address: IPv6Address
    flags: int = 0
    preferred: int = FOR_EVER
    valid: int = FOR_EVER
    protocol: int = 0


class Change(enum.StrEnum):
    """What happened to an address."""

    ADDED = "added"
    """It may be used."""
    DEPRECATED = "deprecated"
    EXPIRED = "expired"
    """The interface has lost it, and nobody here asked for that."""
    REMOVED = "removed"
    """It is gone, as was asked for."""
    DUPLICATE = "duplicate"
    """Another node has it."""


class AddressChange(NamedTuple):
    """Something happened to an address; lifetimes in nanoseconds from now, None: for ever."""

    change: Change
    address: IPv6Address
    preferred: int | None = None
    valid: int | None = None
    advertised: bool = False


class LinkAddress(NamedTuple):
    """An address that the interface has; lifetimes as of ``since`` (ns of the clock), None: for ever."""

    address: IPv6Address
    preferred: int | None
    valid: int | None
    since: int
    deprecated: bool
    usable: bool
    advertised: bool


class LinkAddresses:
    """The global addresses of one interface; what the kernel says goes in, changes come out."""

    def __init__(self) -> None:
        self._addresses: dict[IPv6Address, LinkAddress] = {}
        self._removing: set[IPv6Address] = set()

    def __contains__(self, address: IPv6Address) -> bool:
        """Whether the interface has the address, tentative or not."""
        return address in self._addresses

    @property
    def addresses(self) -> list[LinkAddress]:
        """All, in the order in which they came."""
        return list(self._addresses.values())

    def removing(self, address: IPv6Address) -> None:
        """Its removal was asked for."""
        if address in self._addresses:
            self._removing.add(address)

    def is_leaving(self, address: IPv6Address) -> bool:
        """Its removal was asked for, and is not heard of yet."""
        return address in self._removing

    def take(self, said: Said, now: int) -> list[AddressChange]:
        """Take a notification and return what changed, mostly nothing or one thing."""
        if said.address.is_link_local or said.address.is_loopback or said.address.is_multicast:
            return []
        if not said.there:
            return self._gone(said.address)
        if said.flags & DAD_FAILED:
            self._gone(said.address)
            return [AddressChange(Change.DUPLICATE, said.address)]
        before = self._addresses.get(said.address)
        usable = not said.flags & TENTATIVE or bool(said.flags & OPTIMISTIC)
        deprecated = bool(said.flags & DEPRECATED) or said.preferred == 0
        preferred, valid = _nanoseconds(said.preferred), _nanoseconds(said.valid)
        advertised = said.protocol == FROM_ADVERTISEMENT
        self._addresses[said.address] = LinkAddress(
            said.address, preferred, valid, now, deprecated, usable, advertised
        )
        changes = []
        if usable and (before is None or not before.usable):
            changes.append(AddressChange(Change.ADDED, said.address, preferred, valid, advertised))
        if usable and deprecated and before is not None and not before.deprecated:
            changes.append(AddressChange(Change.DEPRECATED, said.address, 0, valid, advertised))
        return changes

    def _gone(self, address: IPv6Address) -> list[AddressChange]:
        asked = address in self._removing
        self._removing.discard(address)
        if self._addresses.pop(address, None) is None:
            return []
        return [AddressChange(Change.REMOVED if asked else Change.EXPIRED, address)]


def whole_seconds(duration: int | None) -> int:
    """A duration in ns as the kernel counts it, rounded up."""
    return FOR_EVER if duration is None else min(-(-duration // _SECOND), FOR_EVER - 1)


def _nanoseconds(seconds: int) -> int | None:
    return None if seconds == FOR_EVER else seconds * _SECOND
