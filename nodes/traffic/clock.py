"""From the kernel's receive times, which are CLOCK_REALTIME, to CLOCK_MONOTONIC.

The kernel slews both clocks alike, so that their difference is constant until somebody sets the wall clock.
Each reading bounds it; the bounds only ever get narrower, and a reading that contradicts them is a step.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Self

_ROUNDING_NS = 2
"""What the two clocks' own rounding may add to a reading."""


@dataclasses.dataclass(frozen=True)
class ClockReading:
    """CLOCK_REALTIME as read between two readings of CLOCK_MONOTONIC, all in ns."""

    before_ns: int
    realtime_ns: int
    after_ns: int

    @classmethod
    def take(cls) -> Self:
        """Read the clocks."""
        return cls(time.monotonic_ns(), time.time_ns(), time.monotonic_ns())


class MonotonicConversion:
    """Converts the receive times of one batch of packets after the other.

    Every packet of a batch arrived between the reading that ended the batch before and the one that ends its
    own. Where the wall clock was set in between, a packet's time is in the old or in the new scale; the one
    that puts it into that span is right.

    Attributes:
        steps: how often the wall clock was found to have been set.
    """

    def __init__(self, reading: ClockReading) -> None:
        self.steps = 0
        self._since_ns = self._until_ns = reading.after_ns
        self._low, self._high = self._bounds(reading)
        self._offset = (self._low + self._high) // 2
        self._offset_before_step: int | None = None

    def end_batch(self, reading: ClockReading) -> None:
        """Take the clocks' reading after the last packet of a batch was read from the socket."""
        self._since_ns, self._until_ns = self._until_ns, reading.after_ns
        low, high = self._bounds(reading)
        if max(low, self._low) <= min(high, self._high):
            self._low, self._high = max(low, self._low), min(high, self._high)
            self._offset_before_step = None
        else:
            self._low, self._high = low, high
            self._offset_before_step = self._offset
            self.steps += 1
        self._offset = (self._low + self._high) // 2

    def monotonic(self, realtime_ns: int) -> int:
        """When a packet of the batch arrived, in CLOCK_MONOTONIC ns, never later than the batch's end."""
        new = realtime_ns - self._offset
        if self._offset_before_step is not None:
            old = realtime_ns - self._offset_before_step
            if self._outside(old) < self._outside(new):
                new = old
        return min(new, self._until_ns)

    def _outside(self, time_ns: int) -> int:
        return max(self._since_ns - time_ns, time_ns - self._until_ns, 0)

    @staticmethod
    def _bounds(reading: ClockReading) -> tuple[int, int]:
        return (
            reading.realtime_ns - reading.after_ns - _ROUNDING_NS,
            reading.realtime_ns - reading.before_ns + _ROUNDING_NS,
        )
