"""The partners of a terminal: a secret for each, and where they are now. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address

from nodes import errors
from nodes.terminal.actions import Carriage
from nodes.terminal.keys import PairKeys
from nodes.terminal.round_trip import RoundTrip

MOST_PAIRS = 256
_MOST_ADDRESSES = 64


class Pair:
    """One partner.

    Attributes:
        name: its name.
        keys: what the shared secret gives.
        addresses: where it is known to be, the latest last.
        carriage: how messages reached it last; None: not known yet.
        silent: it did not answer, or did not recognise, the last message.
        round_trip: how long it takes to answer.
    """

    def __init__(self, name: str, secret: bytes, addresses: list[IPv6Address]) -> None:
        self.name = name
        self.keys = PairKeys(secret)
        self.addresses = list(addresses)
        self.carriage: Carriage | None = None
        self.silent = False
        self.round_trip = RoundTrip()

    @property
    def address(self) -> IPv6Address | None:
        """Where it is now."""
        return self.addresses[-1] if self.addresses else None

    def arrived(self, address: IPv6Address) -> None:
        """It is at this address now."""
        if address in self.addresses:
            self.addresses.remove(address)
        self.addresses.append(address)
        del self.addresses[:-_MOST_ADDRESSES]

    def left(self, address: IPv6Address) -> None:
        """It is no longer at this address; its last one is never forgotten."""
        if address in self.addresses and len(self.addresses) > 1:
            self.addresses.remove(address)


class Pairs:
    """All partners by name."""

    def __init__(self) -> None:
        self._pairs: dict[str, Pair] = {}

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs.values())

    def __getitem__(self, name: str) -> Pair:
        return self._pairs[name]

    def get(self, name: str | None) -> Pair | None:
        """The partner of this name, if there is one."""
        return self._pairs.get(name) if name is not None else None

    def add(self, name: str, secret: bytes, addresses: list[IPv6Address]) -> Pair:
        """Take a partner, in place of one of this name.

        Raises:
            ParameterError: the secret is too short, an address is another partner's, or there are too many.
        """
        for address in addresses:
            other = self.at(address)
            if other is not None and other.name != name:
                raise errors.ParameterError(f"pair {name}: {address} is the address of {other.name}")
        if name not in self._pairs and len(self._pairs) >= MOST_PAIRS:
            raise errors.ParameterError(
                f"pair {name}: there are {MOST_PAIRS} pairs already, the most there can be"
            )
        pair = self._pairs[name] = Pair(name, secret, addresses)
        return pair

    def at(self, address: IPv6Address) -> Pair | None:
        """The partner that is known to be at this address."""
        return next((pair for pair in self._pairs.values() if address in pair.addresses), None)

    def of_context(self, context: int, source: IPv6Address) -> Pair | None:
        """The partner whose context it may be, looked at cheaply; the one known at ``source`` first."""
        known = self.at(source)
        if known is not None and known.keys.knows(context):
            return known
        return next(
            (pair for pair in self._pairs.values() if pair is not known and pair.keys.knows(context)), None
        )
