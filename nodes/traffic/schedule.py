"""When each probe is due."""

from __future__ import annotations

_SECOND = 1_000_000_000

CATCH_UP_NS = 1_000_000
"""The most that a sender catches up: a probe that is later than this, and than one interval, is not sent."""


class Schedule:
    """An absolute schedule: slot ``k`` is due at ``start + k / rate``, whenever those before it were sent.

    A sender that is late by little sends at once and is on time again, so that no lateness adds up. One that
    was paused for longer than :data:`CATCH_UP_NS` and one interval leaves out the slots that it missed:
    sending them in a burst would give the network traffic that the flow does not have, and the pause would
    not be seen.

    Attributes:
        due_ns: when the next probe is due.
        skipped: the slots left out so far.
    """

    def __init__(self, rate: int, start_ns: int) -> None:
        self.due_ns = start_ns
        self.skipped = 0
        self._rate = rate
        self._start_ns = start_ns
        self._slot = 0
        self._tolerance_ns = max(CATCH_UP_NS, _SECOND // rate)

    def skip_missed(self, now_ns: int) -> None:
        """Leave out the slots that ``now_ns`` is too late for; to be called before a probe is sent."""
        if now_ns - self.due_ns > self._tolerance_ns:
            slot = (now_ns - self._start_ns) * self._rate // _SECOND
            self.skipped += slot - self._slot
            self._go_to(slot)

    def sent(self) -> None:
        """The due probe was sent, or failed: the next slot is due."""
        self._go_to(self._slot + 1)

    def _go_to(self, slot: int) -> None:
        self._slot = slot
        self.due_ns = self._start_ns + slot * _SECOND // self._rate
