"""The window that takes each sequence number once. No I/O.

Numbers have gaps (:class:`Numbering`), so a window of so many numbers below the greatest would be
worthless: this one remembers the greatest that came, as many as it has places.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import msgspec

PLACES = 64
MOST_NUMBER = (1 << 64) - 1
_NS_PER_US = 1000


class Window(msgspec.Struct, kw_only=True):
    """The sequence numbers of one context, direction and leg that were taken."""

    taken: list[int] = []

    def take(self, number: int) -> bool:
        """Whether the number is new; from then on it is not.

        A number below all that are remembered counts as one that came before, once all places are taken.
        """
        at = bisect_left(self.taken, number)
        if at < len(self.taken) and self.taken[at] == number:
            return False
        if len(self.taken) >= PLACES:
            if at == 0:
                return False
            del self.taken[0]
        insort(self.taken, number)
        return True


class Numbering(msgspec.Struct, kw_only=True):
    """Numbers the messages of one context and direction: never the same twice, after a restart neither.

    A number is at least the microseconds since the context began. So a terminal that takes up an older
    state of its own goes on above what it sent, and the numbers tell nothing of the machine's clock.

    Attributes:
        began: when the context began here, ns.
        last: the last number given.
    """

    began: int
    last: int = 0

    def next(self, now: int) -> int:
        """The next number."""
        self.last = max(self.last + 1, (now - self.began) // _NS_PER_US)
        return self.last

    def since(self, number: int, now: int) -> int | None:
        """How long ago this number was given, ns, a little less where many were at once; None: it was not."""
        if self.began < 0 or not 0 < number <= self.last:
            return None
        return max(now - self.began - number * _NS_PER_US, 0)
