"""The addresses that hops leave: when nothing needs one any more it is retired. No I/O."""

from __future__ import annotations

from ipaddress import IPv6Address

from nodes.terminal.actions import HoldIdentity, ReleaseIdentity, RetireAddress
from nodes.terminal.hops import Hop
from nodes.terminal.surroundings import Surroundings


class Leaving:
    """First addresses from the beginning of their hop until no socket bears them.

    Args:
        surroundings: the node's.
        hops: the hops under way, as :class:`~nodes.terminal.first.FirstTerminal` keeps them.

    Attributes:
        addresses: those that are to be retired.
        identities: those that sockets may bear, and whether they are retired.
    """

    def __init__(self, surroundings: Surroundings, hops: list[Hop]) -> None:
        self._in = surroundings
        self._hops = hops
        self.addresses: dict[IPv6Address, None] = {}
        self.identities: dict[IPv6Address, bool] = {}

    def hold(self, address: IPv6Address) -> None:
        """A hop begins from here: the address's packets stay the node's own."""
        if address not in self.identities:
            self.identities[address] = False
            self._in.outbox.act(HoldIdentity(address=address))

    def leave(self, first: IPv6Address, second: IPv6Address) -> None:
        """The hop from one to the other is under way."""
        self.addresses[first] = None
        self.addresses.pop(second, None)

    def restore(self, addresses: list[IPv6Address], identities: dict[IPv6Address, bool]) -> None:
        """Take up what another process held."""
        self.addresses = dict.fromkeys(addresses)
        self.identities = identities
        for address, retired in identities.items():
            self._in.outbox.act(RetireAddress(address=address) if retired else HoldIdentity(address=address))

    def retire(self, now: int) -> None:
        """Retire the addresses that nothing needs any more."""
        for address in list(self.addresses):
            hops = [hop for hop in self._hops if hop.first == address]
            needed = any(hop.second == address for hop in self._hops) or any(
                now < hop.due or any(exchange.closing is None for exchange in hop.exchanges) for hop in hops
            )
            there = self._in.services.with_local(address)
            if needed or any(tracked.ended is None for tracked in there):
                continue
            for tracked in there:  # it only lingered
                self._in.services.remove(tracked)
            del self.addresses[address]
            self.identities[address] = True
            self._in.outbox.act(RetireAddress(address=address))
            for hop in hops:
                hop.retired = now
            self.release(address)

    def release(self, address: IPv6Address) -> None:
        """Nothing needs to stand for an address that no socket bears."""
        if (
            address in self.identities
            and address not in self.addresses
            and not self._in.services.of_sockets(address)
            and not any(address in (hop.first, hop.second) and hop.retired is None for hop in self._hops)
        ):
            del self.identities[address]
            self._in.outbox.act(ReleaseIdentity(address=address))
