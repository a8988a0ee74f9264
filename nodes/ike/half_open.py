"""Main modes that are under way as responder: bounded, so that a flood costs no more. No I/O.

A first message may come from anywhere. Until the partner returns our cookie (in message 3) an SA costs a few
hundred octets and no Diffie-Hellman exchange. Where there is no room the oldest of those whose partner has
not returned it makes way: a real partner returns it within a round trip, a forged one never.
"""

from __future__ import annotations

from collections.abc import Callable

from nodes.ike.isakmp_sa import IsakmpSa


class HalfOpen:
    """The half-open SAs, oldest first.

    Args:
        per_peer: how many there may be from one address.
        in_all: how many there may be.
        returned: whether an SA's partner has returned our cookie.
        evict: ends an SA that makes way.
    """

    def __init__(
        self,
        per_peer: int,
        in_all: int,
        returned: Callable[[IsakmpSa], bool],
        evict: Callable[[IsakmpSa], None],
    ) -> None:
        self._per_peer, self._in_all = per_peer, in_all
        self._returned, self._evict = returned, evict
        self._sas: dict[int, IsakmpSa] = {}
        self._by_peer: dict[str, dict[int, IsakmpSa]] = {}

    def __len__(self) -> int:
        return len(self._sas)

    def admit(self, peer: str) -> bool:
        """Make room for one more from this address; False: there is none."""
        of_peer = self._by_peer.get(peer, {})
        if len(of_peer) >= self._per_peer and not self._make_way(of_peer):
            return False
        return len(self._sas) < self._in_all or self._make_way(self._sas)

    def _make_way(self, among: dict[int, IsakmpSa]) -> bool:
        for sa in among.values():
            if not self._returned(sa):
                self._evict(sa)
                return True
        return False

    def add(self, sa: IsakmpSa) -> None:
        """An SA is half open now."""
        self._sas[sa.id] = sa
        self._by_peer.setdefault(str(sa.path.remote), {})[sa.id] = sa

    def discard(self, sa: IsakmpSa) -> None:
        """An SA is half open no more; one that was not is nothing to this."""
        if self._sas.pop(sa.id, None) is None:
            return
        peer = str(sa.path.remote)
        of_peer = self._by_peer[peer]
        del of_peer[sa.id]
        if not of_peer:
            del self._by_peer[peer]
