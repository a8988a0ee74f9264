"""The pool of second addresses: a keyed sequence, stored before it is needed (RFC 7217 style). No I/O."""

from __future__ import annotations

import hmac
from collections.abc import Container
from ipaddress import IPv6Address

from nodes.terminal.plan import HopPlan, Kind

STORED = 16
"""Addresses of the sequence that are stored ahead."""
PREFIX_LENGTH = 64
_MOST_TRIES = 64

_INTERFACE_IDS = (1 << 64) - 1
_RESERVED = (
    (0, 0),  # the subnet router's anycast address (RFC 4291 §2.6.1)
    (0x0200_5EFF_FE00_0000, 0x0200_5EFF_FEFF_FFFF),  # of IANA's Ethernet block (RFC 5453)
    (0xFDFF_FFFF_FFFF_FF80, 0xFDFF_FFFF_FFFF_FFFF),  # subnet anycast addresses (RFC 2526)
)


class SecondAddresses:
    """The second addresses of one plan, in their order.

    The interface identifier is F(prefix, interface, counter, key) as RFC 7217 §5 has it, with the number of
    the hop as a further argument; F is HMAC-SHA256. A prefix shorter than 64 bits stands for the subnets in
    it, taken in an order that the key decides; whole prefixes are taken in turn.

    Args:
        plan: which part of the address changes, and the prefixes.
        key: the sequence's secret: without it nobody foretells an address.
        interface: the name of the interface, an argument of F.
        taken: how many were taken before (a restart goes on from there).
    """

    def __init__(self, plan: HopPlan, key: bytes, interface: str, taken: int = 0) -> None:
        self._plan = plan
        self._key = key
        self._interface = interface.encode()
        self._next = taken
        self._left = None if plan.pool is None else max(plan.pool - taken, 0)
        self._offered: list[IPv6Address] = []
        self._stored: list[IPv6Address] = []
        self._store(plan.first)

    @property
    def taken(self) -> int:
        """How many of the sequence were taken or passed over."""
        return self._next - len(self._stored)

    @property
    def stored(self) -> tuple[IPv6Address, ...]:
        """What is stored for the next hops."""
        return tuple(self._offered if self._plan.kind is Kind.RA else self._stored)

    def offer(self, address: IPv6Address) -> None:
        """The router offers this address (kind ``ra``)."""
        if address not in self._offered:
            self._offered.append(address)
            del self._offered[:-STORED]

    def withdraw(self, address: IPv6Address) -> None:
        """An offered address is deprecated or gone."""
        if address in self._offered:
            self._offered.remove(address)

    def take(self, first: IPv6Address, in_use: Container[IPv6Address]) -> IPv6Address | None:
        """The second address for a hop from ``first``, None where there is none; then nothing was taken.

        Args:
            first: the address that ends.
            in_use: addresses that cannot be taken: they still stand for something.
        """
        if self._plan.kind is Kind.RA:
            found = next((one for one in self._offered if one != first and one not in in_use), None)
            if found is not None:
                self._offered.remove(found)
            return found
        for passed_over in range(_MOST_TRIES):
            if passed_over == len(self._stored):
                self._store(first)
            if passed_over == len(self._stored):
                return None
            address = self._stored[passed_over]
            if address != first and address not in in_use:
                del self._stored[: passed_over + 1]
                return address
        return None

    def _store(self, first: IPv6Address) -> None:
        if self._plan.kind is Kind.RA:
            return
        count = STORED if self._left is None else min(STORED, self._left)
        self._stored += [self._address(self._next + ahead, first) for ahead in range(count)]
        self._next += count
        if self._left is not None:
            self._left -= count

    def _address(self, number: int, first: IPv6Address) -> IPv6Address:
        prefix = int(first) >> PREFIX_LENGTH
        if self._plan.kind is not Kind.INTERFACE_ID:
            prefix = self._prefix(number)
        interface_id = int(first) & _INTERFACE_IDS
        if self._plan.kind is not Kind.PREFIX:
            interface_id = self._interface_id(number, prefix)
        return IPv6Address(prefix << PREFIX_LENGTH | interface_id)

    def _interface_id(self, number: int, prefix: int) -> int:
        counter = 0
        while True:
            said = prefix.to_bytes(8, "big") + bytes([len(self._interface)]) + self._interface
            found = self._keyed(
                b"interface id", said + number.to_bytes(8, "big") + counter.to_bytes(4, "big")
            )
            if not any(low <= found <= high for low, high in _RESERVED):
                return found
            counter += 1

    def _prefix(self, number: int) -> int:
        prefixes = self._plan.prefixes
        turn, which = divmod(number, len(prefixes))
        network = prefixes[which]
        base = int(network.network_address) >> PREFIX_LENGTH
        bits = PREFIX_LENGTH - network.prefixlen
        return base | self._permuted(turn % (1 << bits), bits, which) if bits else base

    def _permuted(self, value: int, bits: int, which: int) -> int:
        """A keyed permutation of so many bits: every subnet comes once before one comes again."""
        half = (bits + 1) // 2
        mask = (1 << half) - 1
        while True:  # an odd number of bits is walked within the next even one
            left, right = value >> half, value & mask
            for turn in range(4):
                said = bytes([which & 0xFF, turn]) + right.to_bytes(8, "big")
                left, right = right, left ^ (self._keyed(b"subnet", said) & mask)
            value = left << half | right
            if value < 1 << bits:
                return value

    def _keyed(self, purpose: bytes, said: bytes) -> int:
        return int.from_bytes(hmac.digest(self._key, purpose + b"\0" + said, "sha256")[:8], "big")
