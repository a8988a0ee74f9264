"""How long a partner takes to answer, and so how long to wait before a message is repeated. No I/O."""

from __future__ import annotations


class RoundTrip:
    """The smoothed round trip to a partner and its variation, as RFC 6298 §2 has them for TCP.

    An answer names the message that it answers, so that every answer is a measurement, one to a repetition
    too. What the partner's own work adds is part of it: a partner without a processor is not asked more
    often for being slow.
    """

    def __init__(self) -> None:
        self._smoothed: int | None = None
        self._variation = 0

    def measured(self, duration: int) -> None:
        """A message was answered after this time, ns."""
        if self._smoothed is None:
            self._smoothed, self._variation = duration, duration // 2
        else:
            self._variation += (abs(self._smoothed - duration) - self._variation) // 4
            self._smoothed += (duration - self._smoothed) // 8

    @property
    def timeout(self) -> int:
        """After this time a message counts as lost, ns; 0: nothing was measured yet."""
        return 0 if self._smoothed is None else self._smoothed + 4 * self._variation
