"""How much work a source of messages can cause. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address

NS_PER_S = 1_000_000_000


class SourceLimit:
    """A token bucket for each source; of too many sources the one unheard for longest is forgotten.

    Args:
        rate: what a source may cause in a second.
        burst: what it may cause at once.
        sources: how many are remembered.
    """

    def __init__(self, rate: int, burst: int, sources: int) -> None:
        self._rate = rate
        self._full = burst * NS_PER_S
        self._sources = sources
        self._buckets: OrderedDict[IPv6Address, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allows(self, source: IPv6Address, now: int) -> bool:
        """Whether this source may cause one more piece of work; it then has."""
        level, then = self._buckets.get(source, (self._full, now))
        level = min(self._full, level + max(now - then, 0) * self._rate)
        allowed = level >= NS_PER_S
        self._buckets[source] = (level - NS_PER_S if allowed else level, now)
        self._buckets.move_to_end(source)
        if len(self._buckets) > self._sources:
            self._buckets.popitem(last=False)
        return allowed
